import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A block of code in a document. */
export interface CodeBlock {
  /** The document and the line of its first line, e.g. `docs/hooks.md:17`. */
  readonly place: string;
  /** What stands behind the three backticks, e.g. `ts ignore`. */
  readonly language: string;
  readonly text: string;
}

/** A document of the project. */
export interface MarkdownDocument {
  /** Its path from the project's directory, e.g. `docs/hooks.md`. */
  readonly path: string;
  /** What it says besides blocks of code. */
  readonly prose: string;
  readonly blocks: readonly CodeBlock[];
}

/** Reads the documents in `docs/`, and others by their paths from the project's directory. */
export async function readDocuments(...others: string[]): Promise<MarkdownDocument[]> {
  const paths = [...others];
  for await (const { name } of Deno.readDir(join(root, "docs"))) if (name.endsWith(".md")) paths.push(`docs/${name}`);
  return await Promise.all(paths.sort().map(readDocument));
}

/** The blocks of one language in one document. */
export async function blocksOf(path: string, language: string): Promise<string[]> {
  const { blocks } = await readDocument(path);
  return blocks.filter((block) => block.language === language).map(({ text }) => text);
}

async function readDocument(path: string): Promise<MarkdownDocument> {
  const text = await Deno.readTextFile(join(root, path));
  const blocks: CodeBlock[] = [];
  const prose = text.replaceAll(/^( *)```(.*)\n([^]*?)^ *```$/gm, (_block, indent: string, language, code, offset) => {
    const line = text.slice(0, offset).split("\n").length + 1;
    blocks.push({ place: `${path}:${line}`, language, text: code.replaceAll(new RegExp(`^${indent}`, "gm"), "") });
    return "";
  });
  return { path, prose, blocks };
}

/** The fragments that lead to a document's headings, as they are made of them. */
export function fragmentsOf({ prose }: MarkdownDocument): Set<string> {
  return new Set(
    prose.matchAll(/^#+ (.*)$/gm).map(([, title]) => {
      const words = title.toLowerCase().replaceAll(/[^\p{Letter}\p{Number}_ -]/gu, "");
      return words.replaceAll(" ", "-");
    }),
  );
}

/** Where a document's links to files of the project lead, as they are written, without those to the network. */
export function linksOf({ prose }: MarkdownDocument): string[] {
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target).filter((target) => !/^\w+:/.test(target));
}

/** A link's file from the project's directory, and the fragment behind it. */
export function resolveLink({ path }: MarkdownDocument, link: string): { file: string; fragment: string | undefined } {
  const [target, fragment] = link.split("#");
  return { file: target === "" ? path : join(dirname(path), target), fragment };
}

/** A path of the project on this machine. */
export function inProject(path: string): string {
  return join(root, path);
}

/** Texts that stand as code in the prose, between backticks. */
export function inlineCodeOf({ prose }: MarkdownDocument): string[] {
  return [...prose.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code);
}
