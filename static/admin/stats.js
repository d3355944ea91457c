/**
 * Live statistics: takes over what the server has rendered, and keeps it up to date.
 *
 * The server's side is AdminStats in handlers/admin.py: everything first, then what has changed.
 */
(() => {
    'use strict';

    const NAMESPACE = '/api/1/ws/admin-stats';

    const byId = (id) => document.getElementById(id);
    const table = new NamespaceTable((name) => byId(`namespaces${name}`), byId('namespace-row'));
    const activity = new ActivityList((name) => byId(`log${name}`), byId('log-entry'));
    const processes = new KeyedRows(byId('processes'), byId('process-row'));
    const traffic = Chart.large(byId('traffic-chart'));
    const trafficText = byId('traffic-text');
    const figures = new Map([...document.querySelectorAll('[data-figure]')].map((each) => [each.dataset.figure, each]));

    const writers = {
        uptime: ({uptime}) => Format.duration(uptime),
        messagesPerSecond: ({messagesPerSecond}) => Format.number(messagesPerSecond),
        totalMessages: ({totalMessages}) => Format.number(totalMessages),
        clients: ({clients}) => Format.number(clients),
        users: ({users}) => Format.number(users),
        processes: (stats) => Format.number(stats.processes.length),
        bridge: ({bridge}) => Format.bridge(bridge),
        store: ({store}) => Format.store(store),
        refusals: ({refusals}) => Format.table(refusals),
    };

    function showFigures(stats) {
        for (const [name, element] of figures) {
            const text = writers[name](stats);
            if (element.textContent !== text) element.textContent = text;
        }
    }

    function showProcesses(all) {
        for (const process of all) {
            const row = processes.row(process.instance);
            row.write('instance', process.instance.slice(0, 8));
            row.mark('instance', 'title', process.instance);
            row.write('pid', String(process.pid));
            row.write('host', process.host);
            row.write('clients', Format.number(process.clients));
            row.write('messagesPerSecond', Format.number(process.messagesPerSecond));
            row.write('memoryBytes', Format.size(process.memoryBytes));
            row.write('loopLagSeconds', Format.seconds(process.loopLagSeconds));
            row.write('uptime', Format.duration(process.uptime));
            row.element.querySelector('[data-dialog]').dataset.instance = process.instance;
        }
        processes.keep(new Set(all.map(({instance}) => instance)));
    }

    function showTraffic(stats) {
        const counts = table.total(stats.seriesEnd);
        const begin = stats.seriesEnd - Series.SECONDS;
        traffic.draw([counts.map((count, place) => begin + place), counts]);
        const text = `All namespaces, the last five minutes: ${Format.number(stats.messagesPerSecond)} now, `
            + `at most ${Format.number(Math.max(...counts))} in a second.`;
        if (trafficText.textContent !== text) trafficText.textContent = text;
    }

    /** Show what the server tells: all of it in `stats`, what is new in `update`. */
    function show(type, stats) {
        const how = type === 'stats' ? 'replace' : 'update';
        table[how](stats);
        activity[how](stats);
        showFigures(stats);
        showProcesses(stats.processes);
        showTraffic(stats);
    }

    const connection = jPulse.ws.connect(NAMESPACE, {...StatusBar.OPTIONS, maxReconnectAttempts: Infinity})
        .onMessage(({success, data}) => {
            if (success && (data.type === 'stats' || data.type === 'update')) show(data.type, data.stats);
        })
        .onStatusChange((status, before, reason) => {
            byId('live-reason').textContent = status === 'connected' ? '' : reason?.message ?? '';
        });
    new StatusBar('live', connection);
})();
