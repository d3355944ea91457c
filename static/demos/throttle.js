'use strict';

/**
 * Make a function that calls `action` at once, but at most once per interval. A call that comes too early
 * is made up for at the interval's end: without it the last position would be lost.
 *
 * @param {number} intervalMs
 * @param {() => void} action reads what is newest when it is called
 * @returns {() => void}
 */
function throttle(intervalMs, action) {
    let last = -Infinity;
    let timer = 0;
    const run = () => {
        timer = 0;
        last = performance.now();
        action();
    };
    return () => {
        if (!timer) {
            const wait = last + intervalMs - performance.now();
            if (wait <= 0) run();
            else timer = setTimeout(run, wait);
        }
    };
}
