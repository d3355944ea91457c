'use strict';

/** How figures are written; handlers/admin_text.py writes them the same way. */
const Format = (() => {
    const NOTHING = '–';
    const UNITS = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
    const SIZES = ['bytes', 'KiB', 'MiB', 'GiB'];
    const whole = new Intl.NumberFormat('en-US', {maximumFractionDigits: 0});
    const tenths = new Intl.NumberFormat('en-US', {minimumFractionDigits: 1, maximumFractionDigits: 1});
    const exact = new Intl.DateTimeFormat(undefined, {dateStyle: 'medium', timeStyle: 'long'});
    const statusWords = {green: 'Active', yellow: 'Quiet', red: 'Silent'};
    const bridgeWords = {up: 'Connected', down: 'Not reached'};

    /** 12345 as 12,345, and a part of one with a digit behind the point. */
    function number(value) {
        if (typeof value !== 'number') return NOTHING;
        return (Number.isInteger(value) || value >= 100 ? whole : tenths).format(value);
    }

    /** 7265 seconds as `2 h 1 min`. */
    function duration(seconds) {
        if (typeof seconds !== 'number') return NOTHING;
        let left = Math.floor(seconds);
        const parts = [];
        for (const [name, length] of UNITS) {
            const count = Math.floor(left / length);
            left %= length;
            if (count || parts.length) parts.push(count ? `${count} ${name}` : '');
        }
        return parts.slice(0, 2).filter(Boolean).join(' ') || '0 s';
    }

    /** How long ago something was, in its largest unit. */
    function ago(seconds) {
        const unit = UNITS.find(([, length]) => seconds >= length);
        return unit ? `${Math.floor(seconds / unit[1])} ${unit[0]} ago` : 'now';
    }

    /** 1536 bytes as `1.5 KiB`. */
    function size(count) {
        if (typeof count !== 'number') return NOTHING;
        let unit = 0;
        for (; count >= 1024 && unit < SIZES.length - 1; unit += 1) count /= 1024;
        return `${(unit === 0 || count >= 100 ? whole : tenths).format(count)} ${SIZES[unit]}`;
    }

    /** A short time: `0.4 ms`, `12 ms`, `2.5 s`. */
    function seconds(value) {
        if (typeof value !== 'number') return NOTHING;
        if (value >= 1) return `${value.toFixed(1)} s`;
        return value >= 0.01 ? `${(value * 1000).toFixed(0)} ms` : `${(value * 1000).toFixed(1)} ms`;
    }

    /** An ISO timestamp's time of day, where the reader is. */
    function clock(timestamp) {
        const date = new Date(timestamp);
        const part = (value, digits = 2) => String(value).padStart(digits, '0');
        return `${part(date.getHours())}:${part(date.getMinutes())}:${part(date.getSeconds())}`
            + `.${part(date.getMilliseconds(), 3)}`;
    }

    /** An ISO timestamp in full, as it is written where the reader is. */
    function moment(timestamp) {
        return exact.format(new Date(timestamp));
    }

    /** How the processes hear of each other. */
    function bridge({kind, state, lagSeconds, lost}) {
        if (kind === 'local') return 'Not needed';
        const parts = [bridgeWords[state] ?? String(state)];
        if (typeof lagSeconds === 'number') parts.push(seconds(lagSeconds).replace(' ', '\u00a0'));
        if (lost) parts.push(`${number(lost)} lost`);
        return parts.join(', ');
    }

    /** Counts by name in one line. */
    function table(counts) {
        return Object.entries(counts).map(([name, count]) => `${name}: ${number(count)}`).join(', ') || 'none';
    }

    const status = (colour) => statusWords[colour] ?? String(colour);
    const store = (state) => state === 'ok' ? 'Answers' : String(state);

    return {number, duration, ago, size, seconds, clock, moment, bridge, table, status, store};
})();
