// Numbers as people read them.
export const percent = (ratio, digits = 1) => (ratio == null ? "–" : `${(100 * ratio).toFixed(digits)} %`);

export function rate(value) {
  if (value == null) return "–";
  return value >= 10000 ? `${(value / 1000).toFixed(1)} k` : value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1);
}

export function milliseconds(value) {
  if (value == null) return "–";
  if (value >= 1000) return `${Number((value / 1000).toPrecision(3))} s`;
  if (value >= 99.5) return `${Math.round(value)} ms`;
  return value >= 0.0995 || value <= 0 ? `${Number(value.toPrecision(2))} ms` : `${Number((1000 * value).toPrecision(2))} µs`;
}

export const ago = (seconds) => (seconds === 0 ? "now" : seconds < 60 ? `${seconds} s ago`
  : `${Math.floor(seconds / 60)} min${seconds % 60 ? ` ${seconds % 60} s` : ""} ago`);
