/** What the commands that connect cameras share. */
import type { Camera } from '../camera/camera.ts';
import { iso } from './support.ts';

/** What happens is told on standard error, a line each. */
export function tell(camera: Camera): void {
  const line = (text: string) => process.stderr.write(`footage: ${camera.name}: ${text}\n`);
  camera.on('state', (state, trouble) => {
    if (state === 'waiting' && trouble !== null) line(`${trouble.code}: ${trouble.message}`);
    if (state === 'online') line(`connected to ${camera.health().source}`);
  });
  camera.on('recording', (_, failure) => {
    if (failure !== null) line(`${failure.code}: ${failure.message}`);
  });
  camera.on('gap', ({ startUtcMs, endUtcMs, cause }) =>
    line(`nothing from ${iso(startUtcMs)} to ${iso(endUtcMs)} (${cause})`),
  );
  camera.on('clock', ({ clock, byMs }) => line(`the clock of the ${clock} stepped by ${Math.round(byMs)} ms`));
  camera.on('note', line);
}

/** Whoever lists the processes sees their arguments: this takes addresses, options and their secrets out of ours. */
export function hideTitle(title: string): void {
  process.title = title;
}
