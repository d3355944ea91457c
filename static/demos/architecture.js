/**
 * The architecture tab: the page's side of the conversation; the server's is handlers/demos/architecture.py.
 * Drawing is in architecture-picture.js; the same is told as text and as a table.
 */
(() => {
    'use strict';

    const NAMESPACE = '/api/1/ws/hello-architecture';
    /** As on the statistics page. */
    const STATES = {green: 'Active', yellow: 'Quiet', red: 'Silent'};

    const element = (name) => document.getElementById(`architecture-${name}`);
    const drawing = new ArchitecturePicture(element('picture'));
    const table = element('table');

    function show(picture) {
        drawing.show(picture);
        write(element('summary'), summary(picture));
        const {processes, namespaces} = picture;
        fill(table.tHead.rows[0], 'th', [
            'Namespace', 'State', 'Clients',
            ...processes.map(({own}, index) => `Process ${index + 1}${own ? ' (yours)' : ''}`),
        ]);
        const rows = [
            ...namespaces.map(({path, status, total, clients}) => [path, STATES[status], total, ...clients]),
            ['All connections, this picture’s too', '', connectionsOf(picture), ...processes.map(({connections}) => connections)],
        ];
        const body = table.tBodies[0];
        while (body.rows.length > rows.length) body.deleteRow(-1);
        rows.forEach((cells, index) => fill(body.rows[index] ?? body.insertRow(), 'td', cells));
    }

    /** Write a row's cells; cells that are there stay, so that a selection in them does. */
    function fill(row, kind, cells) {
        while (row.cells.length > cells.length) row.deleteCell(-1);
        cells.forEach((content, index) => {
            const cell = row.cells[index] ?? row.appendChild(makeCell(index ? kind : 'th', kind, index));
            write(cell.querySelector('code') ?? cell, `${content}`);
        });
    }

    function makeCell(name, kind, index) {
        const cell = document.createElement(name);
        if (name === 'th') cell.scope = kind === 'th' ? 'col' : 'row';
        if (index > 1) cell.className = 'is-number';
        return cell;
    }

    function write(target, text) {
        if (target.textContent !== text) target.textContent = text;
    }

    function summary(picture) {
        const {processes, bridge, store} = picture;
        const count = connectionsOf(picture);
        const serve = processes.length === 1 ? '1 process serves' : `${processes.length} processes serve`;
        const redis = bridge.isUp ? 'Redis is connected' : 'Redis is not reached';
        return `${serve} ${count} ${count === 1 ? 'connection' : 'connections'}. `
            + `${bridge.kind === 'local' ? 'No Redis is needed for one process' : redis}. `
            + `${store.kind} ${store.isUp ? 'answers' : 'does not answer'}.`;
    }

    function connectionsOf({processes}) {
        return processes.reduce((total, {connections}) => total + connections, 0);
    }

    function open() {
        const connection = jPulse.ws.connect(NAMESPACE, StatusBar.OPTIONS)
            .onMessage(({success, data}) => {
                if (success && data.type === 'picture') show(data.picture);
            })
            // What was drawn before is no longer what is.
            .onStatusChange((status) => element('picture').classList.toggle('is-stale', status !== 'connected'));
        new StatusBar('architecture', connection);
    }

    // The tabs may have shown the panel before this script ran.
    const panel = table.closest('.panel');
    if (panel.hidden) panel.addEventListener('tab-shown', open, {once: true});
    else open();
})();
