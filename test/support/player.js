/**
 * Runs inside Chromium, in a page that is empty but for this script: plays a file in a <video> and reports what a
 * viewer gets. Called by chromium.ts with plain values; answers with plain values.
 */

/** Resolves with the event, or with undefined after `ms`. */
function once(target, type, ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(undefined), ms);
    const done = (event) => {
      clearTimeout(timer);
      resolve(event ?? new Event(type));
    };
    target.addEventListener(type, done, { once: true });
  });
}

/** Makes the <video> and collects its errors as text; a playlist is played by hls.js. */
function makeVideo(url, errors) {
  const video = document.createElement('video');
  video.addEventListener('error', () => {
    errors.push(`MediaError ${video.error?.code}: ${video.error?.message}`);
  });
  video.preload = 'auto';
  document.body.append(video);
  if (new URL(url).pathname.endsWith('.m3u8')) playPlaylist(video, url, errors);
  else video.src = url;
  return video;
}

/** hls.js mends much by itself: only what it gives up on is an error. */
function playPlaylist(video, url, errors) {
  const hls = new Hls();
  hls.on(Hls.Events.ERROR, (_event, { fatal, details, reason, error }) => {
    if (fatal) errors.push(`hls.js: ${details} ${reason ?? error?.message ?? ''}`);
  });
  hls.loadSource(url);
  hls.attachMedia(video);
}

function waitForEnd(video, timeoutMs) {
  return Promise.race([once(video, 'ended', timeoutMs), once(video, 'error', timeoutMs)]);
}

function ranges(buffered) {
  return Array.from({ length: buffered.length }, (_, i) => [buffered.start(i), buffered.end(i)]);
}

/** Seeks while paused; reports when which picture was shown. */
async function seek(video, target, timeoutMs, errors) {
  const began = performance.now();
  const picture = new Promise((resolve) => {
    video.requestVideoFrameCallback((_now, metadata) => resolve(metadata.mediaTime));
    setTimeout(() => resolve(undefined), timeoutMs);
  });
  const seeked = once(video, 'seeked', timeoutMs);
  video.currentTime = target;
  if ((await seeked) === undefined) errors.push(`seek to ${target} s timed out`);
  const mediaTime = video.videoWidth > 0 ? await picture : undefined;
  return { target, mediaTime, currentTime: video.currentTime, elapsedMs: performance.now() - began };
}

/** Calls `onPicture(metadata)` for each presented picture until the returned function is called. */
function watchPictures(video, onPicture) {
  let watching = true;
  const next = (_now, metadata) => {
    if (!watching) return;
    onPicture(metadata);
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(next);
  return () => {
    watching = false;
  };
}

/** Plays from the beginning to the end, after the seeks asked for. */
async function playFile({ url, seekTo, playbackRate, timeoutMs, play }) {
  const errors = [];
  const seeks = [];
  const mediaTimes = [];
  let decodedBefore = 0;
  const video = makeVideo(url, errors);
  const began = performance.now();
  const loaded = await Promise.race([once(video, 'loadeddata', timeoutMs), once(video, 'error', timeoutMs)]);
  if (loaded === undefined) errors.push('loading timed out');
  const loadedMs = performance.now() - began;
  if (errors.length === 0) {
    for (const target of seekTo) seeks.push(await seek(video, target, timeoutMs, errors));
  }
  if (errors.length === 0 && play) {
    // The first picture counts too, so the page listens before it goes back to it.
    const stop = watchPictures(video, (metadata) => mediaTimes.push(metadata.mediaTime));
    if (seeks.length > 0) {
      // Going back decodes the first pictures again, so the count begins here.
      decodedBefore = video.getVideoPlaybackQuality().totalVideoFrames;
      await seek(video, 0, timeoutMs, errors);
    }
    video.playbackRate = playbackRate;
    const ended = waitForEnd(video, timeoutMs);
    await video.play().catch((error) => errors.push(String(error)));
    if ((await ended) === undefined) errors.push(`not at the end after ${timeoutMs} ms, at ${video.currentTime} s`);
    // The last picture may be presented just after the end was announced.
    await new Promise((resolve) => setTimeout(resolve, 200));
    stop();
  }
  const quality = video.getVideoPlaybackQuality();
  return {
    errors,
    seeks,
    mediaTimes: [...new Set(mediaTimes)].toSorted((a, b) => a - b),
    loadedMs,
    duration: video.duration,
    currentTime: video.currentTime,
    ended: video.ended,
    videoWidth: video.videoWidth,
    videoHeight: video.videoHeight,
    decodedFrames: quality.totalVideoFrames - decodedBefore,
    droppedFrames: quality.droppedVideoFrames,
    buffered: ranges(video.buffered),
  };
}

/** Reports the context time of every onset: loud after at least 0.2 s of quiet. */
const ONSET_DETECTOR = `
  registerProcessor('onsets', class extends AudioWorkletProcessor {
    lastLoud = -Infinity;
    process([[samples]]) {
      for (let i = 0; i < (samples?.length ?? 0); i++) {
        if (Math.abs(samples[i]) < 0.2) continue;
        const frame = currentFrame + i;
        if (frame - this.lastLoud > 0.2 * sampleRate) this.port.postMessage(frame / sampleRate);
        this.lastLoud = frame;
      }
      return true;
    }
  });`;

/** Routes the sound of the video through a detector; returns the context and the growing list of onsets. */
async function listen(video) {
  const context = new AudioContext({ sampleRate: 48000, latencyHint: 'interactive' });
  const module = URL.createObjectURL(new Blob([ONSET_DETECTOR], { type: 'text/javascript' }));
  await context.audioWorklet.addModule(module);
  URL.revokeObjectURL(module);
  const detector = new AudioWorkletNode(context, 'onsets');
  const onsets = [];
  detector.port.addEventListener('message', (event) => onsets.push(event.data));
  detector.port.start();
  context.createMediaElementSource(video).connect(detector).connect(context.destination);
  await context.resume();
  return { context, onsets };
}

/** Mean brightness of the picture shown now, 0 to 255. */
function makeLightMeter() {
  const canvas = new OffscreenCanvas(4, 4);
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  return (video) => {
    pen.drawImage(video, 0, 0, 4, 4);
    const { data } = pen.getImageData(0, 0, 4, 4);
    return data.reduce((sum, value) => sum + value, -255 * 16) / 48;
  };
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/**
 * Plays once at normal speed. Flashes are media times of bright pictures. Beeps are put on the same scale through the
 * page's clock: what was heard at an instant belongs to the picture that was shown then.
 */
async function measureSync({ url, timeoutMs }) {
  const errors = [];
  const video = makeVideo(url, errors);
  await Promise.race([once(video, 'loadeddata', timeoutMs), once(video, 'error', timeoutMs)]);
  const { context, onsets } = await listen(video);
  const brightness = makeLightMeter();
  const flashes = [];
  const delays = [];
  const clocks = [];
  const stop = watchPictures(video, (metadata) => {
    if (brightness(video) > 128) flashes.push(metadata.mediaTime);
    delays.push(metadata.expectedDisplayTime / 1000 - metadata.mediaTime);
    const { contextTime, performanceTime } = context.getOutputTimestamp();
    if (contextTime > 0) clocks.push(performanceTime / 1000 - contextTime);
  });
  const ended = waitForEnd(video, timeoutMs);
  await video.play().catch((error) => errors.push(String(error)));
  if ((await ended) === undefined) errors.push(`not at the end after ${timeoutMs} ms`);
  stop();
  const toMediaTime = median(clocks) - median(delays);
  await context.close();
  return { errors, flashes, beeps: onsets.map((time) => time + toMediaTime) };
}

Object.assign(globalThis, { playFile, measureSync });
