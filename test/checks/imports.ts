/**
 * Reads the imports of TypeScript sources and judges them by a table of layers. Works on text: TypeScript 7 offers no
 * compiler API, and formatted sources begin every static import at the start of a line.
 */
import { posix } from 'node:path';

/** Path relative to `src` -> source text. */
export type Sources = ReadonlyMap<string, string>;

export interface Import {
  readonly from: string;
  readonly specifier: string;
  /** Path relative to `src` of what is imported, undefined for packages and Node's own modules. */
  readonly target: string | undefined;
  /** `import type` / `export type`: gone at run time. */
  readonly typeOnly: boolean;
}

/** What one layer may import, besides itself and the files that everybody may import. */
export interface Layer {
  /** A file (`native.ts`) or a folder (`mp4/`), relative to `src`. */
  readonly path: string;
  /** Names of layers. */
  readonly imports: readonly string[];
  /** Names of layers of which only types may be imported. */
  readonly types?: readonly string[];
  /** npm packages. */
  readonly packages?: readonly string[];
  /** Whether Node's own modules may be used; false means pure functions without I/O. */
  readonly node: boolean;
}

export type Layers = Readonly<Record<string, Layer>>;

const STATIC = /^(?:import|export)\s+(type\s)?(?:[^'"`;]*?\sfrom\s*|\s*)['"]([^'"]+)['"]/gm;
/** Not methods of that name: neither their calls nor their declarations (`import(path: string)`). */
const DYNAMIC = /(?<![.#\w$]|async )(?:import|require(?:\.resolve)?)\(\s*(?:['"]([^'"]+)['"]|(?!\w+\??:)([^)\s]))/g;

/** All imports of one file. A dynamic import whose argument is no literal has the specifier `(computed)`. */
export function importsOf(from: string, text: string): Import[] {
  const code = withoutComments(text);
  const found: Import[] = [];
  for (const match of code.matchAll(STATIC)) found.push(makeImport(from, match[2] ?? '', match[1] !== undefined));
  for (const match of code.matchAll(DYNAMIC)) found.push(makeImport(from, match[1] ?? '(computed)', false));
  return found;
}

function makeImport(from: string, specifier: string, typeOnly: boolean): Import {
  const target = specifier.startsWith('.') ? posix.join(posix.dirname(from), specifier) : undefined;
  return { from, specifier, target, typeOnly };
}

/** Removes comments that begin a line or follow a blank; a `//` inside a string (an address) follows a colon. */
function withoutComments(text: string): string {
  return text.replace(/(^|\s)\/\*[\s\S]*?\*\//g, '$1').replace(/(^|\s)\/\/.*$/gm, '$1');
}

/** Name of the layer a file belongs to. */
export function layerOf(path: string, layers: Layers): string | undefined {
  const names = Object.keys(layers);
  return names.find((name) => {
    const layer = layers[name]?.path ?? '';
    return layer.endsWith('/') ? path.startsWith(layer) : path === layer;
  });
}

/** One sentence per violation of the table; empty if all is well. `shared` are the files everybody may import. */
export function violations(sources: Sources, layers: Layers, shared: readonly string[]): string[] {
  const found: string[] = [];
  for (const [path, text] of sources) {
    const name = shared.includes(path) ? undefined : layerOf(path, layers);
    if (name === undefined && !shared.includes(path)) found.push(`${path} belongs to no layer of the table`);
    for (const item of importsOf(path, text)) {
      const reason = judge(item, name, sources, layers, shared);
      if (reason !== undefined) found.push(`${path} imports ${item.specifier}: ${reason}`);
    }
  }
  return found;
}

function judge(
  item: Import,
  name: string | undefined,
  sources: Sources,
  layers: Layers,
  shared: readonly string[],
): string | undefined {
  const layer = name === undefined ? undefined : layers[name];
  if (item.specifier === '(computed)') return 'the argument must be a literal, so that it can be checked';
  if (item.target === undefined) return judgePackage(item, layer);
  if (!sources.has(item.target)) return 'no such file in src';
  if (shared.includes(item.target)) return undefined;
  const target = layerOf(item.target, layers);
  if (target === undefined || target === name || layer?.imports.includes(target)) return undefined;
  if (layer?.types?.includes(target)) return item.typeOnly ? undefined : `only types of ${target} may be imported`;
  return `${name ?? 'a shared file'} must not know ${target}`;
}

function judgePackage(item: Import, layer: Layer | undefined): string | undefined {
  if (item.specifier.startsWith('node:')) return layer?.node ? undefined : 'this layer is pure: no modules of Node';
  return layer?.packages?.includes(item.specifier) ? undefined : 'this layer may not use that package';
}

/** Cycles of imports that exist at run time, each as `a.ts -> b.ts -> a.ts`. */
export function cycles(sources: Sources): string[] {
  const state = new Map<string, 'open' | 'done'>();
  const trail: string[] = [];
  const found: string[] = [];
  const visit = (path: string): void => {
    if (state.get(path) === 'done') return;
    if (state.get(path) === 'open') {
      found.push([...trail.slice(trail.indexOf(path)), path].join(' -> '));
      return;
    }
    state.set(path, 'open');
    trail.push(path);
    for (const { target, typeOnly } of importsOf(path, sources.get(path) ?? '')) {
      if (!typeOnly && target !== undefined && sources.has(target)) visit(target);
    }
    trail.pop();
    state.set(path, 'done');
  };
  for (const path of sources.keys()) visit(path);
  return found;
}
