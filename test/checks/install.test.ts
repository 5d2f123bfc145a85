/**
 * What a user gets: the package is packed, installed into an empty project without running any install script, and used
 * from ESM, from `require` and from the command line, with the prebuilt addon.
 *
 * Packing builds, so it happens in a copy: tests that run meanwhile keep their build.
 */
import { cp, mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { run } from '../support/run.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';
import { ROOT } from './files.ts';

/** Not part of a fresh clone. */
const NOT_COPIED = ['node_modules', '.git', 'build', 'build-cmake', 'dist', 'prebuilds', 'coverage'];

/** The catalog's SQLite is an optional dependency that npm would compile; the repository has it compiled already. */
const LINKED = ['better-sqlite3', 'bindings', 'file-uri-to-path'];

/** The addon or an error: in the installed package there is nothing but the prebuild to load. */
const ENV = { ...process.env, FOOTAGE_NATIVE: '1' };

const START = '2026-01-31T12:00:00Z';
const USE = `
  const http = await import('node:http');
  const archive = await openArchive(process.argv[2]);
  const server = http.createServer(archive.handler()).listen(0, '127.0.0.1', async () => {
    const base = 'http://127.0.0.1:' + server.address().port;
    const answer = await fetch(base + '/api/cameras/door/export.mp4?start=${START}&duration=5');
    const body = Buffer.from(await answer.arrayBuffer());
    console.log(answer.status, body.toString('latin1', 4, 8), body.length === Number(answer.headers.get('content-length')));
    server.close();
    server.closeAllConnections();
    await archive.close();
  });`;

let project = '';
let archive = '';

beforeAll(async () => {
  const folder = await sharedTemporaryFolder();
  project = join(folder, 'project');
  archive = join(folder, 'archive');
  await mkdir(archive);
  await install(await pack(folder), project);
  await runInstalled(['import', '--archive', archive, '--camera', 'door', '--start', START, clip()]);
}, 300_000);

/** Packs a copy of the repository; answers the path of the tarball. */
async function pack(folder: string): Promise<string> {
  const copy = join(folder, 'copy');
  for (const name of await readdir(ROOT)) {
    if (!NOT_COPIED.includes(name)) await cp(join(ROOT, name), join(copy, name), { recursive: true });
  }
  await symlink(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  await run('npm', ['pack', '--pack-destination', folder], { cwd: copy });
  const tarball = (await readdir(folder)).find((name) => name.endsWith('.tgz'));
  if (tarball === undefined) throw new Error('npm pack made no tarball');
  return join(folder, tarball);
}

async function install(tarball: string, into: string): Promise<void> {
  await mkdir(into);
  await writeFile(join(into, 'package.json'), '{ "private": true }\n');
  const quiet = ['--no-audit', '--no-fund', '--prefer-offline', '--ignore-scripts', '--omit=optional'];
  await run('npm', ['install', ...quiet, tarball], { cwd: into });
  for (const name of LINKED) await symlink(join(ROOT, 'node_modules', name), join(into, 'node_modules', name));
}

function clip(): string {
  return join(project, 'node_modules', 'footage', 'media', 'front-door.mp4');
}

function runInstalled(args: readonly string[]): ReturnType<typeof run> {
  return run(join(project, 'node_modules', '.bin', 'footage'), args, { cwd: project, env: ENV });
}

async function runScript(name: string, text: string): Promise<string> {
  await writeFile(join(project, name), text);
  const { stdout } = await run(process.execPath, [name, archive], { cwd: project, env: ENV });
  return stdout.toString('utf8').trim();
}

describe('the installed package', () => {
  test('works from ESM', async () => {
    expect(await runScript('use.mjs', `import { openArchive } from 'footage';${USE}`)).toBe('200 ftyp true');
  });

  test('works from require', async () => {
    const text = `const { openArchive } = require('footage');\n(async () => {${USE}})();`;
    expect(await runScript('use.cjs', text)).toBe('200 ftyp true');
  });

  test('has a command that knows the footage', async () => {
    const { stdout } = await runInstalled(['list', '--archive', archive, '--json']);
    expect(stdout.toString('utf8')).toContain('"door"');
  });

  test('holds neither sources of tests nor build leftovers', async () => {
    const names = await readdir(join(project, 'node_modules', 'footage'));
    for (const name of ['test', 'bench', 'scripts', 'build', 'src', '.ci']) expect(names).not.toContain(name);
  });
});
