/**
 * Documents against reality: error codes in both directions, links and anchors, the commands the README names, and
 * nothing that belongs to one machine only.
 */
import { existsSync, readdirSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ERROR_CODES } from '../../src/errors.ts';
import { ROOT, filesBelow, readText } from './files.ts';
import { anchorsOf, linksOf } from './markdown.ts';

const CODES = Object.keys(ERROR_CODES);
const PAGES = [
  'README.md',
  'ARCHITECTURE.md',
  'CHANGELOG.md',
  ...filesBelow('docs', '.md').map((name) => `docs/${name}`),
];

/** Rows of docs/errors.md: code -> [meaning, what to do]. */
function documentedCodes(): Map<string, string[]> {
  const rows = [...readText('docs/errors.md').matchAll(/^\|\s*`(E_[A-Z_]+)`\s*\|(.*)\|\s*$/gm)];
  return new Map(rows.map((row) => [row[1] ?? '', (row[2] ?? '').split('|').map((cell) => cell.trim())]));
}

describe('error codes', () => {
  const documented = documentedCodes();

  test('every code has a row that says what it means and what to do', () => {
    for (const code of CODES) {
      const cells = documented.get(code) ?? [];
      expect(cells.length, `${code}: meaning and what to do in docs/errors.md`).toBe(4);
      for (const cell of cells) expect(cell, code).not.toBe('');
    }
  });

  test('every row is a code, in the order of the table, with its HTTP and exit status', () => {
    expect([...documented.keys()]).toEqual(CODES);
    for (const [code, meaning] of Object.entries(ERROR_CODES)) {
      expect(documented.get(code)?.slice(0, 2), code).toEqual([String(meaning.http), String(meaning.exit)]);
    }
  });

  test('every code is raised somewhere in src', () => {
    const table = /export const ERROR_CODES = \{[\s\S]*?\n\} as const/;
    const sources = filesBelow('src', '.ts').map((path) => readText(`src/${path}`).replace(table, ''));
    const unused = CODES.filter((code) => !sources.some((text) => text.includes(`'${code}'`)));
    expect(unused).toEqual([]);
  });
});

describe('links', () => {
  test.each(PAGES)('%s: every relative link leads to a file and an anchor', (page) => {
    expect(existsSync(join(ROOT, page)), `${page} exists`).toBe(true);
    expect(linksOf(readText(page)).filter((link) => !resolves(page, link))).toEqual([]);
  });

  test('the link checker finds broken links and reads no code', () => {
    const page = '# One `two`\n\n[a](#one-two) [b](none.md "t")\n```\n[c](d.md)\n```\n`[e](f.md)`\n\n[g]: h.md\n';
    expect(linksOf(page)).toEqual(['#one-two', 'none.md', 'h.md']);
    expect(anchorsOf(page)).toEqual(new Set(['one-two']));
    expect(resolves('README.md', 'none.md')).toBe(false);
  });
});

function resolves(page: string, link: string): boolean {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return true;
  const [path = '', anchor] = link.split('#');
  const target = path === '' ? page : normalize(join(dirname(page), decodeURIComponent(path)));
  if (!existsSync(join(ROOT, target))) return false;
  return anchor === undefined || !target.endsWith('.md') || anchorsOf(readText(target)).has(anchor);
}

describe('what the pages say', () => {
  test('the npm scripts that are named exist', () => {
    const scripts: object = JSON.parse(readText('package.json')).scripts;
    for (const page of PAGES) {
      const named = [...readText(page).matchAll(/\bnpm (?:run ([\w:-]+)|(test)\b)/g)].map((m) => m[1] ?? m[2] ?? '');
      expect(
        named.filter((name) => !(name in scripts)),
        page,
      ).toEqual([]);
    }
  });

  test('nothing that is tracked names a folder of this machine, and nothing is left to be done', () => {
    // A checkout below the temporary folder says nothing: pages name that folder for other reasons.
    const own = [ROOT, dirname(ROOT)].filter((path) => !tmpdir().startsWith(path) && path !== dirname(homedir()));
    const folders = ['src', 'native', 'test', 'bench', 'scripts', 'web', 'docs', 'bin'].filter((name) =>
      existsSync(join(ROOT, name)),
    );
    const inFolders = folders.flatMap((folder) =>
      filesBelow(folder, '.ts', '.mjs', '.cjs', '.js', '.md', '.cc', '.h', '.c', '.sh', '.html', '.css').map(
        (name) => `${folder}/${name}`,
      ),
    );
    const atRoot = readdirSync(ROOT).filter((name) => /\.(md|json|gyp|txt|ts)$/.test(name));
    const unfinished = /\b(TODO|FIXME|XXX)\b/;
    for (const path of [...inFolders, ...atRoot].filter((name) => name !== 'test/checks/docs.test.ts')) {
      const text = readText(path);
      for (const folder of own) expect(text.includes(`${folder}/`), `${path} names ${folder}`).toBe(false);
      expect(unfinished.exec(text)?.[0], path).toBeUndefined();
    }
  });
});
