import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { fragmentsOf, inProject, linksOf, readDocuments, resolveLink } from "./markdown.ts";
import { runDeno } from "./run_deno.ts";

const documents = await readDocuments(
  "README.md",
  "ARCHITECTURE.md",
  "bench/README.md",
  "examples/README.md",
  "CHANGELOG.md",
);

Deno.test("every link in the documents leads to a file that is there", () => {
  for (const document of documents) {
    for (const link of linksOf(document)) {
      assert(existsSync(inProject(resolveLink(document, link).file)), `${document.path}: ${link}`);
    }
  }
});

Deno.test("every link in the documents that has a fragment leads to a heading", () => {
  const byPath = new Map(documents.map((document) => [document.path, document]));
  for (const document of documents) {
    for (const link of linksOf(document)) {
      const { file, fragment } = resolveLink(document, link);
      if (fragment === undefined) continue;
      assert(fragmentsOf(byPath.get(file)!).has(fragment), `${document.path}: ${link}`);
    }
  }
});

Deno.test("every link in the package's documents leads to a file, or a directory, of the package", async () => {
  const { stdout, stderr } = await runDeno(["publish", "--dry-run", "--allow-dirty", "--no-check"]);
  const published = [...(stdout + stderr).matchAll(/^ +file:\/\/(\S+) \(/gm)].map(([, path]) => decodeURI(path));
  assert(published.includes(inProject("README.md")), stderr);
  for (const document of await readDocuments("README.md", "examples/README.md")) {
    for (const link of linksOf(document)) {
      const { file } = resolveLink(document, link);
      const isThere = published.some((path) => path === inProject(file) || path.startsWith(`${inProject(file)}/`));
      assert(isThere, `${document.path}: ${link} is not published`);
    }
  }
});
