/**
 * Checks an archive in a process of its own, so that whoever listens to recorders is not kept from it: reads the
 * arguments of `checkArchive` as JSON on standard input, and prints its result, or what was wrong, as JSON.
 */
import { checkArchive } from './check.mjs';

async function main() {
  let input = '';
  for await (const chunk of process.stdin) input += chunk;
  try {
    return { result: await checkArchive(...JSON.parse(input)) };
  } catch (error) {
    return { code: error.code, failed: error.code === undefined ? error.message : `${error.code}: ${error.message}` };
  }
}

process.stdout.write(JSON.stringify(await main()));
