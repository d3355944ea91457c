'use strict';

/** At most one position in so many milliseconds, the last one always. */
const THROTTLE_MS = 200;
/** Said again so often, so that who is silent for longer than FORGET_MS is known to be gone. */
const REPEAT_MS = 10_000;
const FORGET_MS = 25_000;

/** Where the others are: `{name, place, heardAt}` by client id. */
const others = new Map();
let place = '';

const tracking = jPulse.ws.connect('/api/1/ws/tracking')
    .onMessage(({success, data, error}) => {
        if (success) receive[data.type]?.(data);
        else jPulse.UI.toast.show(error, 'error');
    });
showStatus(tracking);

/** One function per type of message. */
const receive = {
    connected() {
        // Whoever went while we were away is not told again: begin anew, the others say where they are.
        others.clear();
        draw();
        tell();
    },
    who({newcomer}) {
        if (place) tracking.send({type: 'look', place, to: newcomer});
    },
    look({clientId, name, place}) {
        others.set(clientId, {name: name || `Guest ${clientId.slice(0, 4)}`, place, heardAt: Date.now()});
        draw();
    },
    left({clientId}) {
        others.delete(clientId);
        draw();
    },
};

const tell = throttled(() => tracking.send({type: 'look', place}), THROTTLE_MS);

/** Call `act` at most once in `ms`; a call that comes too early is made up for at the end of the wait. */
function throttled(act, ms) {
    let timer = null;
    let isDue = false;
    return function call() {
        isDue = true;
        if (timer !== null) return;
        act();
        isDue = false;
        timer = setTimeout(() => {
            timer = null;
            if (isDue) call();
        }, ms);
    };
}

// The section that crosses the middle of the window is the one that is being read.
const middle = new IntersectionObserver((entries) => {
    for (const {target, isIntersecting} of entries) {
        if (isIntersecting) look(target.id);
    }
}, {rootMargin: '-50% 0px -50% 0px'});
for (const section of document.querySelectorAll('main section')) middle.observe(section);

function look(id) {
    place = id;
    for (const link of document.querySelectorAll('.rail a')) {
        link.setAttribute('aria-current', String(link.hash === `#${id}`));
    }
    tell();
}

document.addEventListener('visibilitychange', () => {
    // Who looks at another tab reads nothing here.
    tracking.send({type: 'look', place: document.hidden ? '' : place});
});

setInterval(() => {
    if (!document.hidden) tell();
    for (const [clientId, {heardAt}] of others) {
        if (Date.now() - heardAt > FORGET_MS) others.delete(clientId);
    }
    draw();
}, REPEAT_MS);

/** Put everybody's sign beside the section they read. */
function draw() {
    for (const item of document.querySelectorAll('.rail li')) {
        const here = [...others].filter(([, other]) => item.querySelector('a').hash === `#${other.place}`);
        item.querySelector('.readers').replaceChildren(...here.map(sign));
    }
    const count = others.size;
    document.getElementById('count').textContent = count ? `${count} other${count > 1 ? 's' : ''} on this page`
        : 'Nobody else is here: open a second window.';
}

function sign([clientId, {name}]) {
    const element = document.createElement('span');
    element.className = 'reader';
    element.title = name;
    element.textContent = name.replace('Guest ', '').slice(0, 2);
    element.setAttribute('aria-label', name);
    element.setAttribute('role', 'img');
    // A colour of one's own, from the id: everybody sees the same one.
    element.style.setProperty('--hue', String(parseInt(clientId.slice(0, 4), 16) % 360));
    return element;
}
