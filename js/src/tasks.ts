/**
 * A task of its own, without a timer: a hidden page gets timers once a second, or once a minute.
 */

const { setImmediate } = globalThis as { setImmediate?: (work: () => void) => void };

let channel: MessageChannel | undefined;
const waiting: (() => void)[] = [];

/** Call `work` in the next task: when the present one and its microtasks are over. */
export function nextTask(work: () => void): void {
  if (setImmediate) {
    setImmediate(work);
    return;
  }
  if (!channel) {
    channel = new MessageChannel();
    channel.port1.onmessage = () => waiting.shift()!();
  }
  waiting.push(work);
  channel.port2.postMessage(0);
}
