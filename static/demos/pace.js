/**
 * Best practices: the same moves over two connections, one throttled and one not, and what becomes of them.
 *
 * The server's side is handlers/demos/practice.py.
 */
(() => {
    'use strict';

    const NAMESPACE = '/api/1/ws/hello-practice';
    const CALM_INTERVAL_MS = 100;
    const RUN_MS = 3000;
    const STEP = 3;
    const KEYS = {ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP]};
    const TOO_OFTEN = 4429;

    const element = (name) => document.getElementById(`pace-${name}`);
    const pad = element('pad');
    let place = {x: 50, y: 50};

    /** One of the two ways, with its counts. */
    class Lane {
        constructor(name) {
            this.name = name;
            this.counts = {seen: 0, sent: 0, heard: 0, refused: 0};
            this.dot = element(`${name}-dot`);
            this.connection = jPulse.ws.connect(NAMESPACE).onMessage((envelope) => this.hear(envelope));
        }

        hear({success, data, code}) {
            if (success && data.type === 'heard') {
                this.count('heard');
                this.dot.hidden = false;
                this.dot.style.transform = `translate(${data.x}cqw, ${data.y}cqh)`;
            } else if (code === 429) {
                this.count('refused');
            }
        }

        send() {
            if (this.connection.send({type: 'move', ...place})) this.count('sent');
        }

        count(what) {
            this.counts[what] += 1;
            this.write(what);
        }

        write(what) {
            element(`${this.name}-${what}`).textContent = this.counts[what];
        }

        reset() {
            for (const what of Object.keys(this.counts)) {
                this.counts[what] = 0;
                this.write(what);
            }
        }
    }

    function open() {
        const eager = new Lane('eager');
        const calm = new Lane('calm');
        const sendCalmly = throttle(CALM_INTERVAL_MS, () => calm.send());

        const move = (x, y) => {
            place = {x: toPercent(x), y: toPercent(y)};
            eager.count('seen');
            calm.count('seen');
            eager.send();
            sendCalmly();
        };
        eager.connection.onStatusChange((status, oldStatus, reason) => tell(status, reason));
        listen(move);
        element('run').addEventListener('click', () => run(move));
        element('reset').addEventListener('click', () => {
            eager.reset();
            calm.reset();
        });
    }

    function listen(move) {
        pad.addEventListener('pointermove', ({clientX, clientY}) => {
            const box = pad.getBoundingClientRect();
            move(100 * (clientX - box.left) / box.width, 100 * (clientY - box.top) / box.height);
        });
        pad.addEventListener('keydown', (event) => {
            const step = KEYS[event.key];
            if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
            event.preventDefault();
            move(place.x + step[0], place.y + step[1]);
        });
    }

    /** Go round in a circle, once per frame, as a hand would with a mouse. */
    function run(move) {
        const button = element('run');
        const begin = performance.now();
        button.disabled = true;
        const frame = (now) => {
            const angle = (now - begin) / 400;
            move(50 + 40 * Math.cos(angle), 50 + 35 * Math.sin(angle));
            button.disabled = now - begin < RUN_MS;
            if (button.disabled) requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame);
    }

    /** Say what the server did to the connection without a throttle. */
    function tell(status, reason) {
        const news = element('news');
        if (reason?.code === TOO_OFTEN) {
            news.textContent = 'The server has closed the connection without a throttle (4429). It comes back by itself.';
        } else if (reason) {
            news.textContent = `${reason.message}. ${status === 'reconnecting' ? 'Trying again by itself.' : ''}`;
        }
        news.hidden = status === 'connected';
    }

    // The tabs may have shown the panel before this script ran.
    const panel = pad.closest('.panel');
    if (panel.hidden) panel.addEventListener('tab-shown', open, {once: true});
    else open();
})();
