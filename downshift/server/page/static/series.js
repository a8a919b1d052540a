// From the stream's seconds to what the page shows of one model.
const UNANSWERED = ["late", "expired", "shed", "failed"];

const sum = (values) => values.reduce((total, value) => total + value, 0);

// One point a second: rate, attainment, accuracy, queue, work, cpu, gpu, answers by sub-net. null: unknown.
export function points(seconds, model) {
  return seconds.map((second) => {
    const { outcomes = {}, answers = {}, accuracy = null, queue_ms = null, longest_queue_ms = null,
      queued = null, in_flight = null } = second.models[model] ?? {};
    const judged = (outcomes.ok ?? 0) + sum(UNANSWERED.map((name) => outcomes[name] ?? 0));
    const gpus = (second.gpus ?? []).map(({ utilization }) => utilization);
    return { second: second.second, rate: sum(Object.values(outcomes)), judged, inTime: outcomes.ok ?? 0,
      attainment: judged ? (outcomes.ok ?? 0) / judged : null, accuracy, queue: queue_ms,
      longest: longest_queue_ms, work: queued == null ? null : queued + in_flight, queued, inFlight: in_flight,
      cpu: second.cpu ?? null, gpu: gpus.length ? Math.max(...gpus) : null, answers, outcomes };
  });
}

// The last minute in one: means weighted by requests.
export function minute(all) {
  const last = all.slice(-60);
  const judged = sum(last.map(({ judged: each }) => each));
  const rated = last.filter(({ accuracy, inTime }) => accuracy != null && inTime);
  const waits = last.filter(({ queue }) => queue != null);
  const answers = {};
  for (const { answers: each } of last) for (const [name, count] of Object.entries(each)) answers[name] = (answers[name] ?? 0) + count;
  const weight = (point) => sum(Object.values(point.answers));
  return {
    rate: last.length ? sum(last.map((point) => point.rate)) / last.length : null,
    attainment: judged ? sum(last.map(({ inTime }) => inTime)) / judged : null,
    accuracy: rated.length ? sum(rated.map((p) => p.accuracy * p.inTime)) / sum(rated.map((p) => p.inTime)) : null,
    queue: waits.length ? sum(waits.map((p) => p.queue * weight(p))) / sum(waits.map(weight)) : null,
    longest: waits.length ? Math.max(...waits.map(({ longest }) => longest)) : null,
    answers, refused: sum(last.map(({ outcomes }) => (outcomes.shed ?? 0) + (outcomes.expired ?? 0))),
  };
}
