'use strict';

/**
 * The table of namespaces, with a small chart each. What is in sight is written at once, charts
 * too; the other rows take turns, so that hundreds of them cost little and none is older than a
 * few seconds.
 */
class NamespaceTable {
    /** @param {(name: string) => HTMLElement} element gives what has the id `namespaces…` */
    constructor(element, template) {
        this.rows = new KeyedRows(element(''), template);
        this.search = element('-search');
        this.sort = element('-sort');
        this.count = element('-count');
        this.box = element('-box');
        this.empty = element('-empty');
        this.noneFound = element('-none-found');
        /** What is known of each namespace by its path, in the server's order. */
        this.known = new Map();
        this.inSight = new Set();
        this.turn = 0;
        this.observer = new IntersectionObserver((changes) => this.watch(changes), {rootMargin: '200px'});
        this.search.addEventListener('input', () => this.sift());
        this.sort.addEventListener('change', () => this.arrange());
    }

    /** Take over all namespaces. */
    replace({namespaces, seriesEnd}) {
        const before = this.known;
        this.known = new Map();
        for (const figures of namespaces) {
            const one = before.get(figures.path) ?? {series: new Series(), chart: null};
            one.series.replace(figures.series, seriesEnd);
            this.known.set(figures.path, one);
            this.take(one, figures);
        }
        this.rows.keep(new Set(this.known.keys()));
        this.show(seriesEnd);
    }

    /** Take over what has changed. */
    update({namespaces, paths, seriesEnd}) {
        for (const figures of namespaces) {
            if (!this.known.has(figures.path)) this.known.set(figures.path, {series: new Series(), chart: null});
            const one = this.known.get(figures.path);
            one.series.take(figures.series, seriesEnd);
            this.take(one, figures);
        }
        if (paths) this.reorder(paths);
        this.show(seriesEnd);
    }

    /** Follow the server's order, and forget what it no longer has. */
    reorder(paths) {
        this.known = new Map(paths.map((path) => [path, this.known.get(path)]).filter(([, one]) => one));
        this.rows.keep(new Set(paths));
    }

    /** Messages per second of all namespaces together. */
    total(end) {
        const sum = new Array(Series.SECONDS).fill(0);
        for (const {series} of this.known.values()) {
            series.advance(end);
            for (let place = 0; place < Series.SECONDS; place += 1) sum[place] += series.counts[place];
        }
        return sum;
    }

    take(one, figures) {
        one.figures = figures;
        if (!one.row) {
            one.row = this.rows.row(figures.path);
            this.observer.observe(one.row.element);
        }
    }

    show(seriesEnd) {
        let place = 0;
        this.turn = (this.turn + 1) % NamespaceTable.TURNS;
        for (const [path, one] of this.known) {
            one.series.advance(seriesEnd);
            place += 1;
            if (this.inSight.has(path)) NamespaceTable.draw(one);
            else if (place % NamespaceTable.TURNS === this.turn) NamespaceTable.write(one);
        }
        this.count.textContent = Format.number(this.known.size);
        this.empty.hidden = this.known.size > 0;
        this.box.hidden = this.known.size === 0;
        this.arrange();
        this.sift();
    }

    /** Bring a row up to date; relative times grow older also where nothing changes. */
    static write({row, figures}) {
        row.write('status', Format.status(figures.status));
        row.mark('status', 'data-status', figures.status);
        row.write('path', figures.path);
        row.mark('path', 'title', figures.path);
        row.mark('path', 'href', `/admin/websocket-namespace?path=${encodeURIComponent(figures.path)}`);
        for (const name of ['clientCount', 'activeUsers', 'messagesPerSecond', 'messagesPerHour', 'totalMessages']) {
            row.write(name, Format.number(figures[name]));
        }
        const {lastActivity} = figures;
        if (lastActivity) row.writeTime('lastActivity', Format.ago((Date.now() - Date.parse(lastActivity)) / 1000), lastActivity);
    }

    /** Bring a row that is in sight up to date, and its chart where it differs. */
    static draw(one) {
        NamespaceTable.write(one);
        const means = one.series.means();
        const key = means.join();
        if (one.drawn === key) return;
        one.drawn = key;
        one.chart ??= Chart.spark(one.row.part('series'));
        one.chart.draw([NamespaceTable.PLACES, means]);
        const peak = Format.number(Math.max(...one.series.counts));
        one.row.mark('series', 'aria-label', `Messages per second, the last five minutes: at most ${peak}`);
    }

    watch(changes) {
        for (const {target, isIntersecting} of changes) {
            const path = target.dataset.key;
            if (isIntersecting) this.inSight.add(path);
            else this.inSight.delete(path);
            if (isIntersecting && this.known.has(path)) NamespaceTable.draw(this.known.get(path));
        }
    }

    /** Show the namespaces whose path has what is searched for. */
    sift() {
        const wanted = this.search.value.trim().toLowerCase();
        let shown = 0;
        for (const [path, {row}] of this.known) {
            const isHidden = !path.toLowerCase().includes(wanted);
            if (row.element.hidden !== isHidden) row.element.hidden = isHidden;
            if (!isHidden) shown += 1;
        }
        this.noneFound.hidden = shown > 0 || this.known.size === 0;
    }

    /** Bring the rows into the chosen order. */
    arrange() {
        this.rows.arrange(this.sorted());
    }

    sorted() {
        const paths = [...this.known.keys()];
        const by = this.sort.value;
        if (by === 'given') return paths;
        if (by === 'path') return paths.sort((a, b) => a < b ? -1 : 1);
        const worth = (path) => this.known.get(path).figures[by] ?? '';
        return paths.sort((a, b) => worth(a) === worth(b) ? 0 : worth(a) < worth(b) ? 1 : -1);
    }
}

NamespaceTable.PLACES = Array.from({length: Series.SECONDS / Series.MEAN_SECONDS}, (_, place) => place);
/** Rows out of sight are written once in so many updates. */
NamespaceTable.TURNS = 10;
