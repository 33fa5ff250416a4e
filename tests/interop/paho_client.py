"""An MQTT client that talks to itself through a broker, with Eclipse Paho.

Usage: paho_client.py PORT VERSION, with VERSION one of 31, 311 and 5. It subscribes to paho/# at QoS 2, publishes a
message at each QoS and prints what it gets back, a JSON object a line. It works with versions 1.6 and 2 of paho-mqtt.
"""

import json
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

protocols = {"31": mqtt.MQTTv31, "311": mqtt.MQTTv311, "5": mqtt.MQTTv5}
property_names = (
    "PayloadFormatIndicator",
    "ContentType",
    "ResponseTopic",
    "CorrelationData",
    "UserProperty",
    "SubscriptionIdentifier",
)


def main(port, version):
    client = new_client(protocols[version])
    published = set()
    received = []

    def on_connect(client, userdata, flags, reason_code, *rest):
        if reason_code != 0:
            sys.exit(f"the broker refused the connection: {reason_code}")
        if version == "5":
            identifier = Properties(PacketTypes.SUBSCRIBE)
            identifier.SubscriptionIdentifier = 7
            client.subscribe("paho/#", options=mqtt.SubscribeOptions(qos=2), properties=identifier)
        else:
            client.subscribe("paho/#", qos=2)

    def on_subscribe(client, userdata, packet_id, granted, *rest):
        properties = message_properties() if version == "5" else None
        for qos in (0, 1, 2):
            published.add(client.publish(f"paho/{qos}", f"hello {qos}", qos=qos, properties=properties).mid)

    def on_publish(client, userdata, packet_id, *rest):
        published.discard(packet_id)
        end_when_done()

    def on_message(client, userdata, message):
        received.append(describe(message))
        end_when_done()

    def end_when_done():
        if len(received) == 3 and not published:
            client.disconnect()

    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.on_publish = on_publish
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.loop_forever()
    for message in received:
        print(json.dumps(message))


def new_client(protocol):
    if hasattr(mqtt, "CallbackAPIVersion"):
        return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=protocol)
    return mqtt.Client(protocol=protocol)


def message_properties():
    properties = Properties(PacketTypes.PUBLISH)
    properties.PayloadFormatIndicator = 1
    properties.ContentType = "text/plain"
    properties.ResponseTopic = "answers"
    properties.CorrelationData = b"\x00\xff"
    properties.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
    return properties


def describe(message):
    description = {
        "topic": message.topic,
        "payload": message.payload.decode(),
        "qos": message.qos,
        "retain": bool(message.retain),
    }
    properties = getattr(message, "properties", None)
    if properties is not None:
        given = {name: getattr(properties, name) for name in property_names if hasattr(properties, name)}
        if "CorrelationData" in given:
            given["CorrelationData"] = given["CorrelationData"].hex()
        description["properties"] = given
    return description


main(int(sys.argv[1]), sys.argv[2])
