/**
 * The web page: static files that ship with the package. It only talks HTTP to the addresses of the API.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { endWith, type Request, type Response } from './exchange.ts';

const FOLDER = join(import.meta.dirname, '..', '..', 'web');

const FILES: Readonly<Record<string, { readonly name: string; readonly type: string }>> = {
  '/': { name: 'index.html', type: 'text/html; charset=utf-8' },
  '/app.js': { name: 'app.js', type: 'text/javascript; charset=utf-8' },
  '/style.css': { name: 'style.css', type: 'text/css; charset=utf-8' },
};

export function isPageFile(pathname: string): boolean {
  return Object.hasOwn(FILES, pathname);
}

export async function sendPageFile(pathname: string, req: Request, res: Response): Promise<void> {
  const file = FILES[pathname];
  if (file === undefined) throw new RangeError(`no such file of the page: ${pathname}`);
  const body = await readFile(join(FOLDER, file.name));
  res.writeHead(200, {
    'Content-Type': file.type,
    'Content-Length': body.byteLength,
    'Cache-Control': 'no-cache',
    'Content-Security-Policy': "default-src 'self'; img-src 'self' data:",
    'X-Content-Type-Options': 'nosniff',
  });
  endWith(req, res, body);
}
