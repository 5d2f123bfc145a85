/**
 * The curve of clients that pace themselves, where the kernel has memory for what it keeps for them: its limit for all TCP
 * sockets together (`net.ipv4.tcp_mem`) is raised meanwhile, which needs root. With the limit as it is, send buffers shrink as
 * soon as all of them together reach it, and every byte costs more calls: that is the rise in `client-curve`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { measurePaces } from './client-curve.mjs';

export const title = 'CPU by number of clients, with more memory for sockets';

const LIMIT = '/proc/sys/net/ipv4/tcp_mem';
const FACTOR = 8;

export async function measure(options) {
  const pages = readFileSync(LIMIT, 'utf8').trim().split(/\s+/);
  const usual = pages.join(' ');
  const raised = pages.map((count) => Number(count) * FACTOR).join(' ');
  writeFileSync(LIMIT, raised);
  try {
    const introduction = `\`net.ipv4.tcp_mem = ${raised}\` (pages) instead of \`${usual}\`.`;
    return [introduction, await measurePaces(['client'], options)].join('\n\n');
  } finally {
    writeFileSync(LIMIT, usual);
  }
}
