/** The table in docs/durability.md, of the summary of scripts/durability.mjs. */
import { readFile, writeFile } from 'node:fs/promises';
import { format, resolveConfig } from 'prettier';

const BEGIN = '<!-- shown: written by scripts/durability.mjs -->';
const END = '<!-- end of what was shown -->';

/** Replaces what stands between the two marks in `file`. */
export async function writeTable(result, file) {
  const text = await readFile(file, 'utf8');
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin === -1 || end < begin) throw new Error(`${file} lacks the marks of the table`);
  const table = `${BEGIN}\n\n${sections(result).join('\n\n')}\n\n`;
  const whole = text.slice(0, begin) + table + text.slice(end);
  await writeFile(file, await format(whole, { ...(await resolveConfig(file)), parser: 'markdown' }));
}

function sections(result) {
  const when = provenances(result).join('\n\n');
  const rows = ROWS.flatMap(([name, toRows]) => (result[name] === undefined ? [] : toRows(result[name])));
  const shown = table(['What', 'How often', 'Broken promises', 'Besides'], rows);
  return [when, shown, ...(result.reference === undefined ? [] : referenceOf(result.reference))];
}

/** When and where: of all parts together, or of each if they were run apart. */
function provenances(result) {
  const names = Object.keys(result);
  const all = new Set(names.map((name) => provenanceOf(result[name])));
  if (all.size === 1) return [...all];
  const partsOf = (when) => names.filter((name) => provenanceOf(result[name]) === when);
  return [...all].map((when) => `\`${partsOf(when).join('`, `')}\`: ${when}`);
}

const provenanceOf = ({ date, commit, processors, kernel }) =>
  `${date.slice(0, 10)}, commit ${commit}; ${processors} processors, Linux ${kernel}.`;

const sum = (list, field) => list.reduce((total, one) => total + one[field], 0);

const ROWS = [
  [
    'states',
    (states) => [['crash states, all distinct', states.states, states.failures, `${states.checks} recoveries`]],
  ],
  ['kills', killRows],
  ['powerCuts', (cuts) => cutRows(cuts, 'power cuts')],
  ['powerCutsOfCache', (cuts) => cutRows(cuts, 'power cuts that take the disk’s cache')],
  ['faults', (faults) => [['tests of a failing disk', faults.numTotalTests, faults.numFailedTests, '']]],
  ['damages', damageRows],
  ['fuzz', fuzzRows],
];

function killRows({ summary }) {
  return summary.map(({ way, kills, failed, framesAppended, framesFound, recoveriesKilled }) => {
    const killed = recoveriesKilled > 0 ? `; ${recoveriesKilled} recoveries killed, too` : '';
    // Of an import nobody is told how much of it is appended.
    const appended = framesAppended > 0 ? `${framesAppended} frames were appended, ` : '';
    return [`\`kill -9\`: ${way}`, kills, failed, `${appended}${framesFound} were found${killed}`];
  });
}

/** Of both file systems together, by flush interval. */
function cutRows({ summary }, what) {
  const intervals = [...new Set(summary.map(({ intervalMs }) => intervalMs))].toSorted((a, b) => a - b);
  return intervals.map((intervalMs) => {
    const group = summary.filter((one) => one.intervalMs === intervalMs);
    const [loss, flush] = ['largestLossMs', 'largestFlushMs'].map((field) =>
      Math.max(...group.map((one) => one[field])),
    );
    const found = `largest loss ${loss} ms, longest flush ${flush} ms`;
    return [`${what}, flushed every ${intervalMs} ms`, sum(group, 'cuts'), sum(group, 'failed'), found];
  });
}

function damageRows({ count, failed, harmless, repaired, 'set-aside': aside }) {
  return [['damages', count, failed, `${harmless} harmless, ${repaired} repaired, ${aside} set aside`]];
}

function fuzzRows({ lines }) {
  return [['inputs of fuzzers', sum(lines, 'executions'), sum(lines, 'findings'), `${lines.length} fuzzers`]];
}

function referenceOf({ segmentS, bitsPerSecond, summary }) {
  const rows = summary.map(({ test, fileSystem, format: container, runs, meanLostS, largestLostS }) => {
    return [`${test}${fileSystem ? `, ${fileSystem}` : ''}`, container, runs, `${meanLostS} s`, `${largestLostS} s`];
  });
  return [
    `The same done to \`ffmpeg -f segment\` with segments of ${segmentS} s and ${(bitsPerSecond / 1e6).toFixed(1)} Mbit/s, by the footage that cannot be read afterwards:`,
    table(['What', 'Format', 'How often', 'Lost, mean', 'Lost, most'], rows),
  ];
}

const line = (cells) => `| ${cells.join(' | ')} |`;

function table(head, rows) {
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
