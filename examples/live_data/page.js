'use strict';

const MAX_POINTS = 120;
/** Points further apart have a gap between them: nobody measured there. */
const GAP_SECONDS = 3;
const element = (id) => document.getElementById(id);
/** Sorted by time, each once: a server that we come back to shows the old ones again. */
let points = [];
let isPaused = false;

const connection = jPulse.ws.connect('/api/1/ws/live-data')
    .onMessage(({success, data}) => {
        if (success && data.type === 'points') take(data.points);
    });
showStatus(connection);

function take(told) {
    const byTime = new Map([...points, ...told].map((point) => [point.at, point]));
    points = [...byTime.values()].sort((a, b) => a.at - b.at).slice(-MAX_POINTS);
    // At most one drawing per frame, whatever comes.
    requestAnimationFrame(draw);
}

function draw() {
    const newest = points.at(-1);
    element('now').textContent = newest ? `${Math.round(newest.mean)} %` : '';
    element('range').textContent = newest
        ? `${Math.round(newest.low)} to ${Math.round(newest.high)} % within the last second`
        : 'Waiting for the first second…';
    chart.setData(columns());
}

/** The points as uPlot wants them, with a hole in every gap. */
function columns() {
    const rows = points.flatMap((point, place) => {
        const isAfterGap = place > 0 && point.at - points[place - 1].at > GAP_SECONDS;
        return isAfterGap ? [{at: point.at - 1, low: null, mean: null, high: null}, point] : [point];
    });
    return ['at', 'high', 'mean', 'low'].map((name) => rows.map((row) => row[name]));
}

// The chart, in the page's colours.

const dark = matchMedia('(prefers-color-scheme: dark)');
let chart = newChart();

function newChart() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const axis = {stroke: colour('muted'), grid: {stroke: colour('line'), width: 1}, ticks: {show: false}};
    const faint = {stroke: colour('line'), points: {show: false}};
    return new uPlot({
        width: element('chart').clientWidth,
        height: element('chart').clientHeight,
        cursor: {show: false},
        legend: {show: false},
        // Always the last two minutes, so that the times stand still while points come.
        scales: {x: {range: (plot, low, high) => [(high ?? 0) - MAX_POINTS, high ?? 0]}, y: {range: [0, 100]}},
        axes: [
            {...axis, space: 80, values: (plot, times) => times.map(timeOfDay)},
            {...axis, size: 56, values: (plot, values) => values.map((value) => `${value} %`)},
        ],
        series: [{}, faint, {stroke: colour('accent'), width: 2, points: {show: false}}, faint],
        bands: [{series: [1, 3], fill: colour('sunken')}],
    }, columns(), element('chart'));
}

function timeOfDay(seconds) {
    return new Date(seconds * 1000).toTimeString().slice(0, 8);
}

dark.addEventListener('change', () => {
    chart.destroy();
    chart = newChart();
});
new ResizeObserver(() => {
    chart.setSize({width: element('chart').clientWidth, height: element('chart').clientHeight});
}).observe(element('chart'));

// Who does not look does not watch: the server rests when nobody does.

function watchOrRest() {
    if (isPaused || document.hidden) connection.disconnect();
    else connection.connect();
}

document.addEventListener('visibilitychange', watchOrRest);
element('pause').addEventListener('click', () => {
    isPaused = !isPaused;
    element('pause').textContent = isPaused ? 'Go on' : 'Pause';
    watchOrRest();
});
// The button beside the status connects, too.
connection.onStatusChange((status) => {
    if (status !== 'disconnected' && isPaused) element('pause').click();
});
