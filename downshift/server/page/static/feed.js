// The live stream: keeps the last five minutes, comes back by itself, and rests while nobody looks.
export const SPAN = 300;
const RETRY = 1500;  // milliseconds between attempts to reach a server that is away

export class Feed {
  seconds = [];  // oldest first, without gaps
  models = [];

  constructor(onState, onSecond) {
    this.onState = onState;
    this.onSecond = onSecond;
    this.state = "connecting";
    document.addEventListener("visibilitychange", () => (document.hidden ? this.close() : this.open()));
    this.open();
  }

  open() {
    this.close();
    if (document.hidden) return;
    this.source = new EventSource("events");
    let first = true;
    this.source.onmessage = (event) => {
      const message = JSON.parse(event.data);
      this.models = message.models;
      if (first) this.seconds = [];
      first = false;
      const last = this.seconds.at(-1)?.second ?? -1;
      this.seconds.push(...message.seconds.filter(({ second }) => second > last));
      this.seconds.splice(0, this.seconds.length - SPAN);
      this.tell(message.state);
      this.onSecond();
    };
    this.source.onerror = async () => {
      this.close();
      this.timer = setTimeout(() => this.open(), RETRY);
      if (!first) return;  // it was live until now: streams end after a while, and when the server drains
      this.tell(await fetch("v2/health/live").then(() => "full", () => "away"));
    };
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
  }

  tell(state) {
    const before = this.state;
    this.state = state;
    this.onState(state, before);
  }
}
