'use strict';

/**
 * A world of sticky notes without a network: several people, two server processes, one store.
 *
 * Everything takes a random time, but each line keeps its order. What one process tells reaches the other's
 * people later; connections break with messages under way; the store refuses now and then. After all that
 * `SharedNotes` must have lost nothing: everybody sees what the store has.
 */
class World {
    constructor(seed) {
        this.state = seed * 2654435761 >>> 0 || 1;
        this.notes = new Map();
        this.ids = 0;
        this.clock = 0;
        this.troubleRate = 0.05;
        this.lines = new Set();
        this.processes = [new Process(this), new Process(this)];
        this.processes.forEach((process, index) => process.join(this.processes[1 - index]));
        this.people = [0, 1, 2, 3].map((number) => new Person(this, this.processes[number % 2]));
    }

    random() {
        this.state ^= this.state << 13;
        this.state ^= this.state >>> 17;
        this.state ^= this.state << 5;
        return (this.state >>> 0) / 2 ** 32;
    }

    below(count) {
        return Math.floor(this.random() * count);
    }

    pause(milliseconds) {
        return new Promise((resolve) => setTimeout(resolve, this.below(milliseconds)));
    }

    now() {
        return String(++this.clock).padStart(9, '0');
    }

    /** Let people do things at random, then wait until all is said; returns what went wrong. */
    async live(steps, seconds) {
        for (let step = 0; step < steps; step++) {
            await this.pause(4);
            const person = this.people[this.below(this.people.length)];
            if (this.random() < 0.02) person.breakLine();
            else person.act();
        }
        this.troubleRate = 0;
        const deadline = Date.now() + 1000 * seconds;
        while (!this.isQuiet() && Date.now() < deadline) await this.pause(20);
        return this.people.map((person) => person.problem(this.told())).filter(Boolean);
    }

    isQuiet() {
        return [...this.lines].every((line) => line.isIdle) && this.people.every((person) => person.isQuiet());
    }

    told() {
        return JSON.stringify([...this.notes.values()].map(described).sort());
    }
}

/** Messages that arrive in their order, each after a random time. */
class Line {
    constructor(world, deliver) {
        this.world = world;
        this.deliver = deliver;
        this.waiting = [];
        this.isBusy = false;
        world.lines.add(this);
    }

    get isIdle() {
        return !this.isBusy && !this.waiting.length;
    }

    push(message) {
        this.waiting.push(JSON.stringify(message));
        if (!this.isBusy) this.work();
    }

    async work() {
        this.isBusy = true;
        while (this.waiting.length) {
            await this.world.pause(4);
            // Cut meanwhile: nothing arrives any more.
            if (!this.waiting.length) break;
            await this.deliver(JSON.parse(this.waiting.shift()));
        }
        this.isBusy = false;
    }

    cut() {
        this.waiting = [];
        this.deliver = () => {};
        this.push = () => {};
        this.world.lines.delete(this);
    }
}

/** A server process: its own people hear of a change at once, those of the other one later. */
class Process {
    constructor(world) {
        this.world = world;
        this.connections = new Set();
    }

    join(other) {
        this.bridge = new Line(this.world, (message) => other.tellOwn(message));
    }

    tellOwn(message) {
        for (const {down} of this.connections) down.push(message);
    }

    tell(message) {
        this.tellOwn({...message, username: ''});
        this.bridge.push({...message, username: ''});
    }

    async greet({down}) {
        const {world} = this;
        down.push({type: 'connected', username: ''});
        await world.pause(3);
        down.push({type: 'welcome'});
        await world.pause(3);
        const notes = [...world.notes.values()];
        await world.pause(5);
        down.push({type: 'notes-init', notes});
    }

    async handle(connection, message) {
        const {world} = this;
        await world.pause(3);
        if (world.random() < world.troubleRate) connection.down.push({code: 503});
        else if (message.type === 'note-create') await this.create(connection, message);
        else if (!world.notes.has(message.id)) connection.down.push({code: 404});
        else if (message.type === 'note-update') this.update(message);
        else this.delete(message);
    }

    async create({breakLine}, {type, ...fields}) {
        const {world} = this;
        const [id, time] = [`id${++world.ids}`, world.now()];
        const note = {id, ...fields, createdAt: time, createdBy: '', updatedAt: time};
        world.notes.set(id, note);
        await world.pause(2);
        if (world.random() < 0.05) breakLine();
        this.tell({type: 'note-created', note});
    }

    update({type, id, ...fields}) {
        const {world} = this;
        const note = {...world.notes.get(id), ...fields, updatedAt: world.now()};
        world.notes.set(id, note);
        this.tell({type: 'note-updated', note});
    }

    delete({id}) {
        this.world.notes.delete(id);
        this.tell({type: 'note-deleted', noteId: id});
    }
}

/** Somebody with a page: a guest like all others, so that nobody is known by a name. */
class Person {
    constructor(world, process) {
        this.world = world;
        this.process = process;
        this.connection = null;
        this.shared = new SharedNotes((message) => this.say(message), {
            change() {},
            refuse() {},
            lose() {},
            restart: () => this.restart(),
        });
        this.connect();
    }

    say(message) {
        this.connection?.up.push(message);
        return Boolean(this.connection);
    }

    connect() {
        const connection = {breakLine: () => connection === this.connection && this.breakLine()};
        connection.down = new Line(this.world, (message) => this.hear(message));
        connection.up = new Line(this.world, (message) => this.process.handle(connection, message));
        this.connection = connection;
        this.process.connections.add(connection);
        this.process.greet(connection);
    }

    disconnect() {
        this.connection?.down.cut();
        this.process.connections.delete(this.connection);
        this.connection = null;
        this.shared.disconnected();
    }

    restart() {
        this.disconnect();
        this.connect();
    }

    async breakLine() {
        this.disconnect();
        await this.world.pause(20);
        if (!this.connection) this.connect();
    }

    hear({type, code, note, notes, noteId, username}) {
        if (code) this.shared.refused(code, '');
        else if (type === 'connected') this.shared.connected(username);
        else if (type === 'welcome') this.shared.greeted();
        else if (type === 'notes-init') this.shared.takeOver(notes);
        else if (type === 'note-created') this.shared.created(note, username);
        else if (type === 'note-updated') this.shared.updated(note, username);
        else this.shared.deleted(noteId, username);
    }

    keys() {
        const {known, wishes} = this.shared;
        return [...new Set([...known.keys(), ...wishes.keys()])].filter((key) => this.shared.view(key));
    }

    /** Do something of which others may do the same at that moment: the choice is small. */
    act() {
        const {world, shared} = this;
        const keys = this.keys();
        const key = keys[world.below(keys.length)];
        const place = {x: world.below(3), y: world.below(3)};
        const what = world.random();
        if (!key || (what < 0.1 && keys.length < 8)) {
            shared.create({...place, text: '', color: '#ffffff'});
        } else if (what < 0.18) {
            shared.remove(key);
        } else {
            shared.change(key, what < 0.6 ? place : {text: 'abc'.slice(world.below(4))});
            if (what < 0.9) shared.flush(key);
            else world.pause(6).then(() => shared.flush(key));
        }
    }

    isQuiet() {
        const {isReady, sent, wishes} = this.shared;
        return isReady && !sent.length && !wishes.size;
    }

    problem(told) {
        const {shared} = this;
        const seen = JSON.stringify(this.keys().map((key) => described(shared.view(key))).sort());
        const isRight = seen === told && shared.count === this.keys().length && this.isQuiet();
        return isRight ? null : {seen, told, wishes: [...shared.wishes], sent: shared.sent};
    }
}

function described({id, x, y, text, color}) {
    return [id, x, y, text, color].join(' ');
}
