/** Test cameras: `startCamera({ front: await cameraStream('h264-aac') })`, then `camera.url('front')`. */
export { framesOf, framesOfSource, placesOf, type TrackFrames } from './camera/frames.ts';
export * from './camera/media.ts';
export { type ReceivedFrame, Receiver, type ReceiverOptions } from './camera/receiver.ts';
export { type CameraOptions, startCamera, type TestCamera } from './camera/server.ts';
export type { AudioSource, Stream, VideoSource } from './camera/stream.ts';
