/**
 * Imports a media file several times in a row, in short segments; says a line right before, and one for each percent.
 *
 * node import-child.mjs ARCHIVE FILE TIMES
 */
import { writeSync } from 'node:fs';
import { openArchive } from '../../dist/index.js';

const [root, input, times] = process.argv.slice(2);

/** Called as frames are read. */
function sayPercents() {
  let said = 0;
  return (doneMs, totalMs) => {
    for (; said < Math.floor((100 * doneMs) / totalMs); said++) writeSync(1, `${said + 1} %\n`);
  };
}

const archive = await openArchive(root);
writeSync(1, 'begins\n');
let start = Date.parse('2026-01-31T12:00:00Z') / 1000;
for (let i = 0; i < Number(times); i++) {
  const recorder = { segmentDurationMs: 12_000 };
  const { endUtcMs } = await archive.import('door', input, { start, recorder, onProgress: sayPercents() });
  start = endUtcMs / 1000;
}
await archive.close();
