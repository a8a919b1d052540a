// Small drawings to try the page with, for models whose labels name them. Each draws on 96 x 96.

const disc = (c, x, y, r, colour) => { c.fillStyle = colour; c.beginPath(); c.arc(x, y, r, 0, 7); c.fill(); };
const box = (c, x, y, w, h, colour) => { c.fillStyle = colour; c.fillRect(x, y, w, h); };
const shape = (c, colour, ...points) => {
  c.fillStyle = colour;
  c.beginPath();
  points.forEach(([x, y]) => c.lineTo(x, y));
  c.fill();
};
const wash = (c, y, h, from, to) => {
  const paint = c.createLinearGradient(0, y, 0, y + h);
  paint.addColorStop(0, from);
  paint.addColorStop(1, to);
  box(c, 0, y, 96, h, paint);
};

export const SAMPLES = {
  airplane(c) {
    wash(c, 0, 96, "#7fb2e0", "#dcecf7");
    shape(c, "#e9edf0", [6, 50], [16, 43], [76, 41], [90, 48], [76, 55], [16, 56]);
    shape(c, "#aab4bd", [40, 50], [56, 50], [34, 78], [27, 78]);
    shape(c, "#c3ccd4", [44, 44], [56, 43], [42, 26], [36, 26]);
    shape(c, "#8d99a4", [6, 49], [17, 45], [10, 26], [3, 26]);
    box(c, 24, 46, 48, 2, "#5b6a78");
  },
  ship(c) {
    wash(c, 0, 58, "#a9c6dd", "#e6eef2");
    wash(c, 58, 38, "#3f6f94", "#23496b");
    shape(c, "#2b3440", [8, 56], [90, 56], [80, 72], [18, 72]);
    box(c, 20, 66, 60, 4, "#a5382f");
    box(c, 26, 42, 44, 14, "#f2f2ee");
    box(c, 34, 32, 26, 10, "#e2e2dc");
    box(c, 44, 18, 9, 14, "#b8442f");
  },
  automobile(c) {
    wash(c, 0, 62, "#c8d6de", "#e8ecec");
    wash(c, 62, 34, "#6d7073", "#54575a");
    shape(c, "#8f1f22", [28, 48], [38, 33], [64, 33], [76, 48]);
    shape(c, "#b3282c", [8, 66], [10, 50], [28, 46], [78, 46], [90, 54], [90, 66]);
    shape(c, "#bcd3de", [33, 46], [40, 36], [50, 36], [50, 46]);
    shape(c, "#bcd3de", [54, 46], [54, 36], [62, 36], [70, 46]);
    [26, 72].forEach((x) => { disc(c, x, 67, 9, "#1c1d1f"); disc(c, x, 67, 4, "#b9bdc0"); });
  },
  truck(c) {
    wash(c, 0, 64, "#b4cfe2", "#eef2f2");
    wash(c, 64, 32, "#77716a", "#5b5650");
    box(c, 6, 22, 54, 42, "#e9e7e0");
    box(c, 6, 58, 84, 8, "#3a3f45");
    shape(c, "#2b5f9e", [62, 64], [62, 34], [78, 34], [90, 50], [90, 64]);
    shape(c, "#c5dae6", [67, 48], [67, 38], [76, 38], [83, 48]);
    [20, 36, 78].forEach((x) => { disc(c, x, 68, 8, "#191a1c"); disc(c, x, 68, 3, "#a7abae"); });
  },
};
