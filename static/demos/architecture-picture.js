'use strict';

/**
 * Draws the parts of the system into an <svg>: browsers, the processes as columns, the namespaces as
 * bands across them, and below what the processes share. It knows nothing of servers.
 *
 * Everything is measured in CSS pixels of the present width, so that labels keep their size on a phone.
 */
const ArchitecturePicture = (() => {
    class ArchitecturePicture {
        /** @param {SVGSVGElement} svg as wide as its place */
        constructor(svg) {
            this.svg = svg;
            this.picture = null;
            new ResizeObserver(() => this.draw()).observe(svg);
        }

        /** @param {object} picture what handlers/demos/architecture.py tells */
        show(picture) {
            this.picture = picture;
            this.draw();
        }

        draw() {
            // Half a pixel of a border lies outside its box.
            const width = this.svg.clientWidth - 2;
            if (!this.picture || width <= 0) return;
            const columns = columnsOf(this.picture, width);
            const sizes = ArchitecturePicture.SIZES;
            const top = sizes.box + sizes.gap;
            const bandsTop = top + sizes.header;
            const bandsEnd = bandsTop + this.picture.namespaces.length * sizes.band + sizes.pad;
            const parts = [
                ...browsers(this.picture, columns, width),
                ...columns.flatMap((column) => drawColumn(column, top, bandsEnd)),
                ...this.picture.namespaces.flatMap(
                    (each, index) => band(each, index, columns, bandsTop + index * sizes.band, width)),
                ...shared(this.picture, columns, bandsEnd, width),
            ];
            this.svg.setAttribute('height', bandsEnd + sizes.gap + sizes.box + 2);
            const group = shape('g', {transform: 'translate(1 1)'});
            group.append(...parts);
            this.svg.replaceChildren(group);
        }
    }

    ArchitecturePicture.SIZES = {
        box: 52, gap: 36, header: 62, band: 58, pad: 10, between: 10,
        /** A column narrower than `narrow` has numbers alone; none is narrower than `least`. */
        narrow: 118, least: 40,
        /** The width of a letter, more or less. */
        letter: 7.8,
    };

    /** Where the processes stand; those that do not fit are one column, the last. */
    function columnsOf({processes, namespaces}, width) {
        const {between, least} = ArchitecturePicture.SIZES;
        const room = Math.max(2, Math.floor((width + between) / (least + between)));
        const single = processes.length > room ? room - 1 : processes.length;
        const columns = processes.slice(0, single).map(({own, connections}, index) => ({
            name: `P${index + 1}`, title: `Process ${index + 1}`, own, connections,
            clients: namespaces.map((each) => each.clients[index]),
        }));
        const rest = processes.slice(single);
        if (rest.length) {
            columns.push({
                name: `+${rest.length}`, title: `${rest.length} more`, own: rest.some(({own}) => own),
                connections: sum(rest.map(({connections}) => connections)),
                clients: namespaces.map((each) => sum(each.clients.slice(single))),
            });
        }
        const each = (width - between * (columns.length - 1)) / columns.length;
        return columns.map((column, index) => ({...column, x: index * (each + between), width: each}));
    }

    function browsers({processes}, columns, width) {
        const {box, gap} = ArchitecturePicture.SIZES;
        const count = sum(processes.map(({connections}) => connections));
        return [
            ...columns.map(({x, width: wide, own}) => shape('path', {
                class: own ? 'link is-own' : 'link', d: `M${x + wide / 2} ${box}v${gap}`,
            })),
            rectangle('part', 0, 0, width, box),
            text('name', width / 2, 21, 'Browsers'),
            text('count', width / 2, 41, count === 1 ? '1 connection, which is yours' : `${count} connections, one of them yours`),
        ];
    }

    function drawColumn({name, title, own, connections, x, width}, top, end) {
        const isNarrow = width < ArchitecturePicture.SIZES.narrow;
        const middle = x + width / 2;
        const count = connections === 1 ? '1 connection' : `${connections} connections`;
        return [
            rectangle(own ? 'column is-own' : 'column', x, top, width, end - top),
            text('name', middle, top + 21, isNarrow ? name : title),
            text('count', middle, top + 39, isNarrow ? `${connections}` : count),
            text('own', middle, top + 55, own ? (isNarrow ? 'you' : 'serves you') : ''),
        ];
    }

    /** A namespace across all processes, with its clients in each. */
    function band({path, status, total}, index, columns, y, width) {
        const {band: high, between, letter} = ArchitecturePicture.SIZES;
        const count = total === 1 ? '1 client' : `${total} clients`;
        const room = Math.floor((width - 60) / letter) - count.length;
        const title = shape('title');
        title.textContent = path;
        const label = shape('g');
        label.append(title, text('path', 34, y + 20, shortened(path.replace('/api/1/ws/', ''), room)));
        return [
            rectangle('band', 6, y, width - 12, high - between),
            shape('circle', {class: `state is-${status}`, cx: 20, cy: y + 15, r: 5}),
            label,
            text('total', width - 18, y + 20, count),
            ...columns.map(({x, width: wide, clients}) => text('clients', x + wide / 2, y + 40, `${clients[index]}`)),
        ];
    }

    /** What the processes share: the way to each other, and the database. */
    function shared({bridge, store}, columns, top, width) {
        const {box, gap, between} = ArchitecturePicture.SIZES;
        const half = (width - between) / 2;
        const bus = top + gap / 2;
        const isAlone = bridge.kind === 'local';
        const link = (isUp) => (isUp ? 'link' : 'link is-down');
        const middles = columns.map(({x, width: wide}) => x + wide / 2);
        const from = Math.min(half / 2, ...middles);
        const to = Math.max(width - half / 2, ...middles);
        return [
            shape('path', {class: 'link', d: `M${isAlone ? middles[0] : from} ${bus}H${to}`}),
            ...middles.map((x) => shape('path', {class: 'link', d: `M${x} ${top}V${bus}`})),
            ...(isAlone ? [] : [shape('path', {class: link(bridge.isUp), d: `M${half / 2} ${bus}V${top + gap}`})]),
            shape('path', {class: link(store.isUp), d: `M${width - half / 2} ${bus}V${top + gap}`}),
            ...part(isAlone || bridge.isUp, isAlone, 0, top + gap, half, 'Redis',
                isAlone ? 'not needed' : (bridge.isUp ? 'connected' : 'not reached')),
            ...part(store.isUp, false, half + between, top + gap, half, store.kind, store.isUp ? 'answers' : 'does not answer'),
        ];
    }

    function part(isUp, isAbsent, x, y, width, name, state) {
        const {box} = ArchitecturePicture.SIZES;
        const look = isAbsent ? 'part is-absent' : (isUp ? 'part' : 'part is-down');
        return [
            rectangle(look, x, y, width, box),
            text('name', x + width / 2, y + 21, name),
            text(isUp ? 'count' : 'count is-down', x + width / 2, y + 41, state),
        ];
    }

    function rectangle(className, x, y, width, height) {
        return shape('rect', {class: className, x, y, width, height, rx: 8});
    }

    function text(className, x, y, content) {
        const element = shape('text', {class: className, x, y});
        element.textContent = content;
        return element;
    }

    function shape(name, attributes = {}) {
        const element = document.createElementNS('http://www.w3.org/2000/svg', name);
        for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
        return element;
    }

    function shortened(name, room) {
        return name.length > room ? `${name.slice(0, Math.max(1, room - 1))}…` : name;
    }

    function sum(numbers) {
        return numbers.reduce((total, number) => total + number, 0);
    }

    return ArchitecturePicture;
})();
