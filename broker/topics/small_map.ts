/**
 * A map for the trees, where most maps stay empty or have one entry: such a one takes a tenth of the memory of a `Map`.
 * `undefined` is no key.
 */
export class SmallMap<K, V> {
  /** The only entry, while there is no `#map`. */
  #key: K | undefined = undefined;
  #value: V | undefined = undefined;
  #map: Map<K, V> | undefined = undefined;

  get size(): number {
    return this.#map?.size ?? (this.#key === undefined ? 0 : 1);
  }

  get(key: K): V | undefined {
    if (this.#map !== undefined) return this.#map.get(key);
    return this.#key === key ? this.#value : undefined;
  }

  set(key: K, value: V): void {
    if (this.#map === undefined && (this.#key === undefined || this.#key === key)) {
      this.#key = key;
      this.#value = value;
      return;
    }
    if (this.#map === undefined) {
      this.#map = new Map([[this.#key!, this.#value!]]);
      this.#key = this.#value = undefined;
    }
    this.#map.set(key, value);
  }

  /** Returns whether it was there. */
  delete(key: K): boolean {
    if (this.#map !== undefined) {
      const wasThere = this.#map.delete(key);
      if (this.#map.size === 0) this.#map = undefined;
      return wasThere;
    }
    if (this.#key !== key) return false;
    this.#key = this.#value = undefined;
    return true;
  }

  /** In the order in which they came. */
  values(): Iterable<V> {
    if (this.#map !== undefined) return this.#map.values();
    return this.#key === undefined ? [] : [this.#value!];
  }

  /** In the order in which they came. */
  entries(): Iterable<[K, V]> {
    if (this.#map !== undefined) return this.#map.entries();
    return this.#key === undefined ? [] : [[this.#key, this.#value!]];
  }
}
