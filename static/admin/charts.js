'use strict';

/** Messages per second over the last five minutes. */
class Series {
    constructor() {
        this.counts = new Array(Series.SECONDS).fill(0);
        /** The second (since 1970) after the last one. */
        this.end = 0;
    }

    /** Let time pass: seconds of which nothing was told had no messages. */
    advance(end) {
        const passed = end - this.end;
        if (passed <= 0) return;
        if (passed >= Series.SECONDS) this.counts.fill(0);
        else this.counts = [...this.counts.slice(passed), ...new Array(passed).fill(0)];
        this.end = end;
    }

    /** Take over what the server tells of the seconds before `end`, newest last. */
    take(counts, end) {
        this.advance(end);
        const begin = Series.SECONDS - counts.length;
        counts.forEach((count, place) => {
            if (begin + place >= 0) this.counts[begin + place] = count;
        });
    }

    /** The series as a small chart shows it: means over a few seconds, since single ones would only be noise. */
    means() {
        const means = [];
        for (let begin = 0; begin < Series.SECONDS; begin += Series.MEAN_SECONDS) {
            let sum = 0;
            for (let place = begin; place < begin + Series.MEAN_SECONDS; place += 1) sum += this.counts[place];
            means.push(sum / Series.MEAN_SECONDS);
        }
        return means;
    }

    /** Take over a whole series: what it leaves out had no messages. */
    replace(counts, end) {
        this.counts.fill(0);
        this.end = end;
        this.take(counts, end);
    }
}

Series.SECONDS = 300;
Series.MEAN_SECONDS = 5;

/** A chart in an element, as wide as that, in the page's colours. Every chart looks the same way at zero. */
class Chart {
    constructor(element, options) {
        this.element = element;
        this.options = options;
        this.data = null;
        this.plot = null;
        new ResizeObserver(() => this.fit()).observe(element);
        Chart.dark.addEventListener('change', () => this.rebuild());
    }

    /** @param {[number[], number[]]} data places or times, and counts */
    draw(data) {
        this.data = data;
        if (this.plot) this.plot.setData(data);
        else this.build();
    }

    build() {
        const {clientWidth: width, clientHeight: height} = this.element;
        if (!width || !this.data) return;
        this.plot = new uPlot({...this.options(Chart.colours()), width, height}, this.data, this.element);
    }

    rebuild() {
        this.plot?.destroy();
        this.plot = null;
        this.build();
    }

    fit() {
        const {clientWidth: width, clientHeight: height} = this.element;
        if (!this.plot) this.build();
        else if (width && (width !== this.plot.width || height !== this.plot.height)) this.plot.setSize({width, height});
    }

    static colours() {
        const style = getComputedStyle(document.documentElement);
        const colour = (name) => style.getPropertyValue(`--${name}`).trim();
        return {line: colour('accent'), grid: colour('line'), text: colour('muted'), font: colour('font')};
    }

    /** A range for counts: from zero, and never flat. */
    static range(plot, low, high) {
        return [0, Math.max(1, high ?? 0)];
    }

    static area(line) {
        return {stroke: line, fill: `color-mix(in srgb, ${line} 18%, transparent)`, points: {show: false}};
    }

    /** A small chart without axes. */
    static spark(element) {
        return new Chart(element, ({line}) => ({
            ...Chart.BARE,
            padding: [2, 1, 1, 1],
            scales: {x: {time: false}, y: {range: Chart.range}},
            axes: [{show: false}, {show: false}],
            series: [{}, {...Chart.area(line), width: 1.25}],
        }));
    }

    /** A large chart with axes. */
    static large(element) {
        return new Chart(element, ({line, grid, text, font}) => {
            const axis = {stroke: text, font: `12px ${font}`, grid: {stroke: grid, width: 1}, ticks: {stroke: grid, width: 1}};
            return {
                ...Chart.BARE,
                padding: [8, 8, 0, 0],
                scales: {y: {range: Chart.range}},
                axes: [
                    {...axis, size: 28, space: 80, values: (plot, times) => times.map((time) => Chart.timeOfDay(time))},
                    {...axis, size: 56, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5]},
                ],
                series: [{}, {...Chart.area(line), width: 1.5}],
            };
        });
    }

    static timeOfDay(seconds) {
        return new Date(seconds * 1000).toTimeString().slice(0, 8);
    }
}

Chart.BARE = {cursor: {show: false}, legend: {show: false}, select: {show: false}};
Chart.dark = matchMedia('(prefers-color-scheme: dark)');
