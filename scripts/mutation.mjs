/**
 * Shows that test/session/stale-hint.test.ts can fail: in a copy of the sources the re-check is taken out, so that a session
 * believes the first hint, and then every one of those tests must fail, because something was sent on a stale hint. The
 * untouched copy must pass. Exit status 1 if not, also if the re-check is not found where it is looked for.
 *
 * node scripts/mutation.mjs
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const SOURCE = join('src', 'session', 'send.ts');
const TEST = join('test', 'session', 'stale-hint.test.ts');
const COPIED = ['src', 'test', 'package.json', 'tsconfig.json', 'vitest.config.ts'];
const LINKED = ['node_modules', 'build'];
/** What the assertion says that has to fail. */
const REASON = 'pieces sent on a stale hint';

/** From `open`, a bracket, to behind the one that closes it. */
function endOfGroup(text, open) {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if ('({'.includes(text[at])) depth++;
    if (')}'.includes(text[at]) && --depth === 0) return at + 1;
  }
  throw new Error(`a bracket of ${SOURCE} is not closed`);
}

/** The only match of `pattern`. */
function only(text, pattern, what) {
  const matches = [...text.matchAll(pattern)];
  if (matches.length === 1) return matches[0];
  throw new Error(`${SOURCE} has ${matches.length} of: ${what}. Tell scripts/mutation.mjs where the re-check is now`);
}

/** The loop of belowSoftBarrier ends at its first hint, whatever the sender's state is. */
function withoutRecheck(source) {
  const head = only(source, /function belowSoftBarrier\([^)]*\)[^{]*\{/g, 'function belowSoftBarrier');
  const begin = head.index + head[0].length - 1;
  const body = source.slice(begin, endOfGroup(source, begin));
  if (!/\.hint\(\)/.test(body)) throw new Error(`belowSoftBarrier of ${SOURCE} waits for no hint`);
  const loop = only(body, /\bwhile\s*\(/g, 'a while in belowSoftBarrier');
  const open = loop.index + loop[0].length - 1;
  const end = endOfGroup(body, open);
  if (!/\.state\(\)/.test(body.slice(open, end))) throw new Error(`the loop of belowSoftBarrier asks for no state`);
  const isDoWhile = /\bdo\b/.test(body.slice(0, loop.index));
  const once = isDoWhile ? 'while (false)' : `if ${body.slice(open, end)}`;
  const mutated = body.slice(0, loop.index) + once + body.slice(end);
  return source.slice(0, begin) + mutated + source.slice(begin + body.length);
}

/** Runs the test in the copy; gives what each of its tests came to. */
function runTest(folder) {
  const file = join(folder, 'report.json');
  rmSync(file, { force: true });
  const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  const args = [vitest, 'run', '--root', folder, '--reporter=json', `--outputFile=${file}`, TEST];
  const { stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  const { testResults } = readReport(file, stderr);
  return testResults.flatMap(({ assertionResults, message }) => {
    if (assertionResults.length === 0) throw new Error(`${TEST} could not be run: ${message}`);
    return assertionResults.map(({ fullName, status, failureMessages }) => ({
      ...{ name: fullName.trim(), status, message: failureMessages.join('\n') },
    }));
  });
}

function readReport(file, stderr) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new Error(`vitest wrote no report: ${stderr}`, { cause });
  }
}

function check(results, what, isRight) {
  for (const { name, status, message } of results) {
    console.log(`${what}: ${status}: ${name}`);
    if (!isRight(status, message)) throw new Error(`${what}, "${name}" has ${status}: ${message}`);
  }
  if (results.length === 0) throw new Error(`${what}, there was no test`);
}

function main() {
  const folder = mkdtempSync(join(tmpdir(), 'footage-mutation-'));
  try {
    for (const name of COPIED) cpSync(join(ROOT, name), join(folder, name), { recursive: true });
    for (const name of LINKED) symlinkSync(join(ROOT, name), join(folder, name));
    check(runTest(folder), 'with the re-check', (status) => status === 'passed');
    const source = join(folder, SOURCE);
    writeFileSync(source, withoutRecheck(readFileSync(source, 'utf8')));
    const isCaught = (status, message) => status === 'failed' && message.includes(REASON);
    check(runTest(folder), 'without the re-check', isCaught);
  } catch (error) {
    console.error(`mutation: ${error.message}`);
    process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

main();
