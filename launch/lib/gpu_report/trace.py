"""What a trace of the trainer's profiler (chrome://tracing JSON of PyTorch's Kineto) says of a GPU."""
import bisect
import json

WAITS = ("cudaDeviceSynchronize", "cudaStreamSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def merged(spans):
    """The union of [begin, end) spans, sorted and without overlaps."""
    union = []
    for begin, end in sorted(spans):
        if union and begin <= union[-1][1]:
            union[-1][1] = max(union[-1][1], end)
        else:
            union.append([begin, end])
    return union


def length(spans):
    return sum(end - begin for begin, end in merged(spans))


def own_times(spans):
    """[(name, time)] of spans (begin, end, name) of one thread, each less the spans within it."""
    open_spans, times = [], []

    def close(until):
        while open_spans and open_spans[-1][0] <= until:
            end, begin, name, within = open_spans.pop()
            times.append((name, end - begin - within))
            if open_spans:
                open_spans[-1][3] += end - begin

    for begin, end, name in sorted(spans, key=lambda span: (span[0], -span[1])):
        close(begin)
        open_spans.append([end, begin, name, 0])
    close(float("inf"))
    return times


def shared(a, b):
    """Time that both unions cover."""
    a, b, total, i, j = merged(a), merged(b), 0, 0, 0
    while i < len(a) and j < len(b):
        total += max(0, min(a[i][1], b[j][1]) - max(a[i][0], b[j][0]))
        if a[i][1] < b[j][1]:
            i += 1
        else:
            j += 1
    return total


class Trace:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            events = json.load(file)
        events = events["traceEvents"] if isinstance(events, dict) else events
        whole = [event for event in events if event.get("ph") == "X"]
        self.kernels = [e for e in whole if e.get("cat") == "kernel"]
        self.host = [e for e in whole if e.get("cat") in ("cpu_op", "cuda_runtime", "cuda_driver")]
        self.runtime = [e for e in whole if e.get("cat") in ("cuda_runtime", "cuda_driver")]
        # The operators of backward, by thread.
        self.backward = {}
        for event in whole:
            if event.get("cat") == "cpu_op" and event["name"].startswith("autograd::engine::evaluate_function"):
                self.backward.setdefault(event["tid"], []).append((event["ts"], event["ts"] + event["dur"]))
        self.backward = {tid: merged(spans) for tid, spans in self.backward.items()}

    @staticmethod
    def _span(event):
        return event["ts"], event["ts"] + event["dur"]

    def _in_backward(self, launch):
        spans = self.backward.get(launch["tid"], [])
        at = bisect.bisect_right(spans, [launch["ts"], float("inf")]) - 1
        return at >= 0 and spans[at][0] <= launch["ts"] < spans[at][1]

    def overlap(self):
        """Microseconds of NCCL's kernels, of backward's own, and of both at once."""
        launches = {e["args"]["correlation"]: e for e in self.runtime if "correlation" in e.get("args", {})}
        nccl, backward = [], []
        for kernel in self.kernels:
            launch = launches.get(kernel.get("args", {}).get("correlation"))
            if "nccl" in kernel["name"].lower():
                nccl.append(self._span(kernel))
            elif launch is not None and self._in_backward(launch):
                backward.append(self._span(kernel))
        return {"nccl_us": length(nccl), "backward_us": length(backward), "both_us": shared(nccl, backward)}

    def waits(self):
        """Calls in which the host waits for the device, by name; not those behind the last launch, by which the
        profiler ends."""
        counts = {}
        last = max((event["ts"] for event in self.runtime if "LaunchKernel" in event["name"]), default=0)
        for event in self.runtime:
            if event["name"] in WAITS and event["ts"] < last:
                counts[event["name"]] = counts.get(event["name"], 0) + 1
        return counts

    def busiest(self, count):
        """[(kernel, share of the GPU's busy time, calls)], the longest first."""
        times, calls = {}, {}
        for kernel in self.kernels:
            times[kernel["name"]] = times.get(kernel["name"], 0) + kernel["dur"]
            calls[kernel["name"]] = calls.get(kernel["name"], 0) + 1
        whole = sum(times.values())
        order = sorted(times, key=times.get, reverse=True)[:count]
        return [(name, times[name] / whole, calls[name]) for name in order]

    def slowest_on_host(self, count):
        """[(operator or call, its own time / the time that kernels span, calls, microseconds a call)] of what the host
        does up to the last launch, the longest in all first. Threads add up."""
        last = max((event["ts"] for event in self.runtime if "LaunchKernel" in event["name"]), default=0)
        threads = {}
        for event in self.host:
            if event["ts"] <= last:
                threads.setdefault(event["tid"], []).append((*self._span(event), event["name"]))
        times, calls = {}, {}
        for spans in threads.values():
            for name, time in own_times(spans):
                times[name], calls[name] = times.get(name, 0) + time, calls.get(name, 0) + 1
        whole = self._whole()
        order = sorted(times, key=times.get, reverse=True)[:count]
        return [(name, times[name] / whole if whole else None, calls[name], times[name] / calls[name])
                for name in order]

    def _whole(self):
        """From the first kernel to the last."""
        spans = [self._span(kernel) for kernel in self.kernels]
        return max(end for _, end in spans) - min(begin for begin, _ in spans) if spans else 0

    def idle_share(self):
        """Of the time between the first and the last kernel."""
        spans = [self._span(kernel) for kernel in self.kernels]
        if not spans:
            return None
        whole = self._whole()
        return 1 - length(spans) / whole if whole else 0.0
