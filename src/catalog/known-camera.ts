/** Whether there is a camera of a name. */
import { FootageError } from '../errors.ts';
import type { Catalog } from './catalog.ts';

/** @throws FootageError E_CAMERA_UNKNOWN */
export function checkKnownCamera(catalog: Pick<Catalog, 'has'>, camera: string): void {
  if (catalog.has(camera)) return;
  throw new FootageError(
    'E_CAMERA_UNKNOWN',
    `There is no camera "${camera}" in this archive: list the cameras for their names.`,
  );
}
