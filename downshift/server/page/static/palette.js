// A colour for each sub-net, from the densest (deep) to the sparsest (bright); the theme sets the range.
export function colours(count) {
  const style = getComputedStyle(document.documentElement);
  const [from, to] = ["--dense", "--sparse"].map((name) => style.getPropertyValue(name).trim().split(" ").map(Number));
  return Array.from({ length: count }, (_, index) => {
    const part = count === 1 ? 0 : index / (count - 1);
    const [light, chroma, hue] = from.map((value, at) => value + part * (to[at] - value));
    return `oklch(${light} ${chroma} ${hue})`;
  });
}
