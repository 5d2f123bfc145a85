/**
 * What every benchmark needs: servers as processes of their own, the CPU time of a process tree, alternating rounds with
 * lower quartiles, and a results page whose sections are replaced in place.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

export const ROOT = join(import.meta.dirname, '..');
export const CLI = join(ROOT, 'bin', 'footage.cjs');
const execute = promisify(execFile);

/** A module of the built product. */
export function built(path) {
  return import(pathToFileURL(join(ROOT, 'dist', path)).href);
}

/** Runs a program to its end; resolves with its stdout, rejects with its stderr. */
export async function run(command, args, options = {}) {
  try {
    const { stdout } = await execute(command, args, { maxBuffer: 1 << 26, ...options });
    return stdout;
  } catch (error) {
    if (error.code === 'ENOENT')
      throw new Error(`${command} is not installed: run \`npm run setup\``, { cause: error });
    throw new Error(`${command} ${args.join(' ')} failed: ${error.stderr || error.message}`, { cause: error });
  }
}

/** Runs the product's command line. */
export function footage(args, env = {}) {
  return run(process.execPath, [CLI, ...args], { env: { ...process.env, ...env } });
}

/** Runs `body` with a folder on the disk of TMPDIR that is removed afterwards. */
export async function withFolder(body) {
  const folder = await mkdtemp(join(tmpdir(), 'footage-bench-'));
  try {
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** A TCP port that was free a moment ago, for servers that cannot choose one themselves. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * Starts a server and waits until it accepts connections. `port` if it is given one; otherwise it prints
 * `listening on http://HOST:PORT`. Answers { name, pid, port, stop() }.
 */
export async function startServer(name, command, args, { port, env = {} } = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...env } });
  const failed = once(child, 'exit').then(([code]) => {
    throw new Error(`${name} ended with ${code} before it listened`);
  });
  failed.catch(() => undefined);
  const listening = await Promise.race([port === undefined ? portPrinted(child) : accepting(port), failed]);
  const stop = async () => {
    const ended = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
    child.kill('SIGTERM');
    await ended;
  };
  return { name, pid: child.pid, port: listening, stop };
}

async function portPrinted(child) {
  let text = '';
  for await (const chunk of child.stdout) {
    text += chunk;
    const match = /listening on http:\/\/[^\s:]+:(\d+)/.exec(text);
    if (match) {
      child.stdout.resume();
      return Number(match[1]);
    }
  }
  throw new Error(`the server never said where it listens:\n${text}`);
}

async function accepting(port) {
  for (let attempt = 0; attempt < 200; attempt++) {
    try {
      await fetch(`http://127.0.0.1:${port}/`, { method: 'HEAD', headers: { connection: 'close' } });
      return port;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`nothing accepts connections on port ${port}`);
}

/** Process ids of `pid` and everything it started that still runs. */
export function processTree(pid) {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const children = new Map();
  for (const name of pids) {
    const parent = parentOf(name);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const tree = [pid];
  for (let i = 0; i < tree.length; i++) tree.push(...(children.get(tree[i]) ?? []));
  return tree;
}

function parentOf(pid) {
  try {
    // The program's name may hold blanks and brackets; the fields behind its last bracket do not (proc(5)).
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}

/**
 * CPU seconds (user and system) used so far by a process tree: nanoseconds of each thread's schedstat, which is far
 * finer than the 10 ms ticks of /proc/PID/stat. Servers here start no threads that end.
 */
export function cpuSeconds(pid) {
  let nanoseconds = 0;
  for (const member of processTree(pid)) {
    for (const thread of readdirSync(`/proc/${member}/task`)) {
      nanoseconds += Number(readFileSync(`/proc/${member}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
    }
  }
  return nanoseconds / 1e9;
}

/** The value a quarter of the measurements lie below: noise only ever adds time. */
export function lowerQuartile(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) / 4;
  const low = sorted[Math.floor(position)];
  const high = sorted[Math.ceil(position)];
  return low + (high - low) * (position - Math.floor(position));
}

/** Smallest and largest of the measurements, for a table. */
export function fromTo(values) {
  return `${Math.min(...values).toFixed(3)}–${Math.max(...values).toFixed(3)}`;
}

/**
 * Bytes that a process tree has written so far, by write and sendfile (what goes by send is not in it): what a server has
 * handed to the kernel, while a client may still have to read it.
 */
export function writtenBytes(pid) {
  let bytes = 0;
  for (const member of processTree(pid)) {
    bytes += Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${member}/io`, 'utf8'))?.[1]);
  }
  return bytes;
}

/**
 * Measures each contestant once per round, every other round in reverse, so that drift of the machine hits all alike.
 * `contestants`: name -> async () => number. Answers name -> numbers.
 */
export async function alternate(rounds, contestants) {
  const names = Object.keys(contestants);
  const results = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) results[name].push(await contestants[name]());
    progress(`round ${round + 1} of ${rounds}`);
  }
  return results;
}

/** Throws a file out of the page cache, once it is on the disk. */
export async function evict(file) {
  await run('dd', [`of=${file}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none']);
}

/** Empties the kernel's caches, of folders and inodes, too; only root may. */
export async function dropCaches() {
  await run('sync', []);
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

/** Overwrites one line on a terminal; says nothing elsewhere. */
export function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** A Markdown table. */
export function table(head, rows) {
  const lines = [head, head.map(() => '---'), ...rows];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

/** Date, commit and machine of a run, as one line. */
export async function provenance() {
  const commit = await run('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD']).catch(() => 'no commit');
  // The results themselves are what a run changes.
  const changed = await run('git', ['-C', ROOT, 'status', '--porcelain', '--', '.', ':!bench/RESULTS.md']).catch(
    () => '',
  );
  const { model } = cpus()[0] ?? { model: 'unknown processor' };
  const memory = Math.round(totalmem() / 2 ** 30);
  const machine = `${cpus().length} × ${model.trim()}, ${memory} GiB, Linux ${release()}, Node ${process.versions.node}`;
  return `${new Date().toISOString().slice(0, 10)}, commit ${commit.trim()}${changed === '' ? '' : ' and changes'}; ${machine}`;
}

const RESULTS = join(ROOT, 'bench', 'RESULTS.md');
const INTRODUCTION = `# Results

Written by \`npm run bench\`; each section by one benchmark, with the date, commit and machine of its own run.
`;

/** Replaces the section of that title in bench/RESULTS.md, or appends it. */
export function writeSection(title, body, file = RESULTS) {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : INTRODUCTION;
  const [introduction, ...sections] = text.split(/^(?=## )/m);
  const section = `## ${title}\n\n${body.trim()}\n\n`;
  const at = sections.findIndex((old) => old.startsWith(`## ${title}\n`));
  if (at < 0) sections.push(section);
  else sections[at] = section;
  writeFileSync(file, `${[introduction.trimEnd(), ...sections.map((part) => part.trim())].join('\n\n')}\n`);
}
