'use strict';

const element = (id) => document.getElementById(id);
const NAME_KEY = 'presence.name';
const TYPING_MS = 2000;
/** A sign of typing lasts a little longer than the pause to the next one. */
const TYPING_SHOWN_MS = 3500;
const MAX_LINES = 50;

/** The last that was told of each person, by id; those who are gone stay, against late messages. */
const people = new Map();
/** Until when each person is shown as typing. */
const typing = new Map();
let me = '';
let isAway = false;

const presence = jPulse.ws.connect('/api/1/ws/presence')
    .onMessage(({success, data, error}) => {
        if (success) receive[data.type]?.(data);
        else jPulse.UI.toast.show(error, 'error');
    });
showStatus(presence);

/** One function per type of message. */
const receive = {
    everybody(told) {
        if (told.you) introduce(told);
        const here = new Set(told.people.map(({id}) => id));
        for (const [id, {changed}] of people) {
            if (!here.has(id) && changed <= told.changed) learn({id, state: 'gone', changed: told.changed});
        }
        told.people.forEach(learn);
        draw();
    },
    person({person}) {
        learn(person);
        draw();
    },
    typing({id}) {
        if (id === me) return;
        typing.set(id, Date.now() + TYPING_SHOWN_MS);
        setTimeout(drawTyping, TYPING_SHOWN_MS);
        drawTyping();
    },
    said({id, text}) {
        typing.delete(id);
        drawTyping();
        const line = document.createElement('li');
        const name = Object.assign(document.createElement('b'), {textContent: nameOf(id)});
        line.append(name, ` ${text}`);
        element('said').append(line);
        while (element('said').children.length > MAX_LINES) element('said').firstElementChild.remove();
        element('said').scrollTop = element('said').scrollHeight;
    },
};

/** Say again what the server forgot with the connection before. */
function introduce({you, isGuest}) {
    me = you;
    element('naming').hidden = !isGuest;
    const name = localStorage.getItem(NAME_KEY);
    element('name').value = name ?? '';
    if (isGuest && name) presence.send({type: 'name', name});
    tellAway();
}

function learn(person) {
    if (person.changed >= (people.get(person.id)?.changed ?? 0)) people.set(person.id, person);
}

const nameOf = (id) => people.get(id)?.name ?? 'Somebody';

function draw() {
    const here = [...people.values()].filter(({state}) => state !== 'gone');
    element('people').replaceChildren(...here.map(row));
    element('count').textContent = `${here.length} here`;
}

function row({id, name, state}) {
    const part = (className, textContent) => Object.assign(document.createElement('span'), {className, textContent});
    const item = document.createElement('li');
    item.dataset.state = state;
    item.append(part('sign', ''), part('grows', id === me ? `${name} (you)` : name), part('small', state));
    return item;
}

function drawTyping() {
    for (const [id, until] of typing) {
        if (until <= Date.now()) typing.delete(id);
    }
    const names = [...typing.keys()].map(nameOf);
    const verb = names.length > 1 ? 'are' : 'is';
    element('typing').textContent = names.length ? `${names.join(', ')} ${verb} typing…` : '';
}

// Away: when the tab is hidden, and when the visitor says so.

function tellAway() {
    presence.send({type: 'away', away: isAway || document.hidden});
}

document.addEventListener('visibilitychange', tellAway);
element('away').addEventListener('change', ({target}) => {
    isAway = target.checked;
    tellAway();
});

element('naming').addEventListener('submit', (event) => {
    event.preventDefault();
    const name = element('name').value.trim();
    if (!name || !presence.send({type: 'name', name})) return;
    localStorage.setItem(NAME_KEY, name);
    element('text').focus();
});

let typingToldAt = 0;
element('text').addEventListener('input', () => {
    if (Date.now() - typingToldAt < TYPING_MS) return;
    typingToldAt = Date.now();
    presence.send({type: 'typing'});
});

element('saying').addEventListener('submit', (event) => {
    event.preventDefault();
    const text = element('text').value.trim();
    // What cannot be sent now stays in the field.
    if (text && presence.send({type: 'say', text})) element('text').value = '';
    typingToldAt = 0;
});
