'use strict';

/** What the connection is doing, and why. */
const LinkStatus = {
    props: ['link'],
    setup({link: {status, reason, connect}}) {
        const words = {
            connecting: 'Connecting', connected: 'Connected',
            reconnecting: 'Reconnecting', disconnected: 'Not connected',
        };
        const text = () => words[status.value] + (reason.value ? `. ${reason.value.message}.` : '');
        return () => h('div', {class: 'connection', id: 'connection', 'data-status': status.value}, [
            h('p', {class: 'connection-line', role: 'status'}, text()),
            status.value === 'disconnected' && h('button', {class: 'button is-small', onClick: connect}, 'Connect'),
        ]);
    },
};

/** The frame around all views: it keeps the polls and the connection while one goes from view to view. */
const PollsApp = {
    setup() {
        const store = usePolls();
        const route = useRoute();

        function view() {
            const [name, id] = route.value;
            if (name === '') return h(PollList, {store});
            if (name === 'poll' && id) return h(PollView, {store, id, key: id});
            if (name === 'new') return h(NewPoll, {store});
            return h(Nowhere);
        }
        // A new view begins at its heading, for readers of the screen, too.
        Vue.watch(route, async () => {
            await Vue.nextTick();
            document.querySelector('#view h2')?.focus();
        });

        const tab = (hash, text) => h('a', {href: hash, 'aria-current': location.hash === hash ? 'page' : null}, text);
        return () => [
            h('h1', 'Polls'),
            h(LinkStatus, {link: store.link}),
            h('nav', {class: 'views', 'aria-label': 'Views', key: route.value.join('/')}, [
                tab('#/', 'All polls'),
                tab('#/new', 'Ask something'),
            ]),
            store.trouble.value && h('p', {class: 'form-error', role: 'alert'}, [
                `The polls could not be loaded. ${store.trouble.value} `,
                h('button', {class: 'button is-small', onClick: store.load}, 'Try again'),
            ]),
            h('div', {id: 'view'}, [view()]),
        ];
    },
};

if (!location.hash) history.replaceState(null, '', '#/');
Vue.createApp(PollsApp).mount('#app');
