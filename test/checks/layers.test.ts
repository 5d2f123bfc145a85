/**
 * Who may import whom in `src`: arrows point one way, as in ARCHITECTURE.md. A file that is in no layer fails, so the
 * table stays complete.
 */
import { describe, expect, test } from 'vitest';
import { filesBelow, readText } from './files.ts';
import { cycles, importsOf, violations, type Layers, type Sources } from './imports.ts';

/** The vocabulary: everybody may import it, it imports nothing of ours but itself. */
const SHARED = ['camera-health.ts', 'errors.ts', 'media.ts', 'native-types.ts', 'option-keys.ts'];

const BELOW_ARCHIVE = [
  'native',
  'mp4',
  'sender',
  'segment',
  'format',
  'recorder',
  'ingest',
  'catalog',
  'session',
] as const;

const LAYERS: Layers = {
  native: { path: 'native.ts', imports: ['twin'], packages: ['node-gyp-build'], node: true },
  twin: { path: 'twin/', imports: [], node: true },
  format: { path: 'format/', imports: [], node: false },
  mp4: { path: 'mp4/', imports: [], node: false },
  wakeups: { path: 'wakeups.ts', imports: [], node: true },
  sender: { path: 'sender/', imports: ['native', 'wakeups'], node: true },
  segment: { path: 'segment/', imports: ['format', 'mp4', 'native'], node: true },
  recorder: { path: 'recorder/', imports: ['segment', 'format', 'mp4', 'native'], node: true },
  ingest: { path: 'ingest/', imports: ['mp4'], node: true },
  catalog: {
    path: 'catalog/',
    imports: ['segment', 'format', 'mp4'],
    packages: ['better-sqlite3'],
    node: true,
  },
  time: { path: 'time.ts', imports: [], node: false },
  lifetime: { path: 'lifetime.ts', imports: [], node: false },
  session: {
    path: 'session/',
    imports: ['catalog', 'segment', 'format', 'mp4', 'sender', 'wakeups'],
    types: ['time'],
    node: true,
  },
  writers: {
    path: 'camera-writers.ts',
    imports: ['catalog', 'recorder', 'segment'],
    node: true,
  },
  camera: { path: 'camera/', imports: ['ingest', 'recorder'], node: true },
  import: {
    path: 'archive-import.ts',
    imports: ['catalog', 'ingest', 'segment', 'time'],
    types: ['recorder', 'writers'],
    node: true,
  },
  http: { path: 'http/', imports: ['session', 'catalog', 'time'], types: ['sender'], node: true },
  files: { path: 'archive-files.ts', imports: ['segment'], node: true },
  check: { path: 'archive-check.ts', imports: ['catalog', 'segment', 'files'], types: ['writers'], node: true },
  scrub: { path: 'scrub.ts', imports: ['catalog', 'segment'], types: ['check', 'session'], node: true },
  archive: {
    path: 'archive.ts',
    imports: [...BELOW_ARCHIVE, 'time', 'lifetime', 'writers', 'camera', 'import', 'check', 'scrub', 'http'],
    node: true,
  },
  index: {
    path: 'index.ts',
    imports: ['archive', 'ingest'],
    types: ['camera', 'sender', 'segment', 'recorder', 'catalog', 'session', 'http', 'time'],
    node: false,
  },
  cli: {
    path: 'cli/',
    imports: [...BELOW_ARCHIVE, 'twin', 'time', 'http', 'camera', 'check', 'archive', 'index'],
    packages: ['commander', 'cli-progress'],
    node: true,
  },
};

function readSources(): Sources {
  return new Map(filesBelow('src', '.ts').map((path) => [path, readText(`src/${path}`)]));
}

describe('src', () => {
  test('no layer imports what it must not know', () => {
    expect(violations(readSources(), LAYERS, SHARED)).toEqual([]);
  });

  test('no import cycles, except of types', () => {
    expect(cycles(readSources())).toEqual([]);
  });
});

function judge(sources: Readonly<Record<string, string>>): string[] {
  return violations(new Map(Object.entries(sources)), LAYERS, SHARED);
}

describe('the checker itself', () => {
  test('finds an import against the arrows, static, re-exported, dynamic and spread over lines', () => {
    const http = { 'http/handler.ts': '' };
    for (const text of [
      "import { handler } from '../http/handler.ts';",
      "import {\n  a,\n  b,\n} from '../http/handler.ts';",
      "export * from '../http/handler.ts';",
      "import '../http/handler.ts';",
      "export type { Handler } from '../http/handler.ts';",
      "  const late = await import('../http/handler.ts');",
    ]) {
      expect(judge({ ...http, 'mp4/boxes.ts': text }), text).toEqual([
        'mp4/boxes.ts imports ../http/handler.ts: mp4 must not know http',
      ]);
    }
  });

  test('finds input and output in a pure layer, foreign packages and computed imports', () => {
    expect(judge({ 'format/a.ts': "import { readSync } from 'node:fs';" })).toHaveLength(1);
    expect(judge({ 'session/a.ts': "import { Command } from 'commander';" })).toHaveLength(1);
    expect(judge({ 'session/a.ts': 'const x = await import(name);' })).toHaveLength(1);
  });

  test('tells types from values', () => {
    const sender = { 'sender/sender.ts': '' };
    expect(judge({ ...sender, 'http/a.ts': "import type { S } from '../sender/sender.ts';" })).toEqual([]);
    expect(judge({ ...sender, 'http/a.ts': "import { S } from '../sender/sender.ts';" })).toHaveLength(1);
  });

  test('finds files outside the table and missing files', () => {
    expect(judge({ 'helpers.ts': '' })).toEqual(['helpers.ts belongs to no layer of the table']);
    expect(judge({ 'mp4/a.ts': "import { b } from './b.ts';" })).toHaveLength(1);
  });

  test('reads neither comments, addresses nor methods as imports', () => {
    const methods = 'class A {\n  async import(a: string) {}\n  import(path: string) {}\n}\nb.import(file);\n';
    expect(importsOf('mp4/a.ts', methods)).toEqual([]);
    const text = "// import { a } from 'x';\n/* import('y') */\nconst url = 'http://localhost/';\n";
    expect(importsOf('mp4/a.ts', text)).toEqual([]);
  });

  test('finds a cycle, but not one of types', () => {
    const b = "import { a } from './a.ts';";
    expect(cycles(new Map(Object.entries({ 'a.ts': "import { b } from './b.ts';", 'b.ts': b })))).toEqual([
      'a.ts -> b.ts -> a.ts',
    ]);
    expect(cycles(new Map(Object.entries({ 'a.ts': "import type { B } from './b.ts';", 'b.ts': b })))).toEqual([]);
  });
});
