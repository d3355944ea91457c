'use strict';

/**
 * The polls, as the server tells them: read by REST, kept up to date by the WebSocket, changed by REST.
 *
 * Returns reactive `polls` (newest first), `isLoaded`, `trouble` and `link` (see useNamespace), and the
 * functions `load`, `create` and `vote`. Call it once, in the component around all views.
 */
function usePolls() {
    const REST = '/api/1/polls';
    const known = Vue.reactive(new Map());
    const votes = Vue.reactive(readVotes());
    const isLoaded = Vue.ref(false);
    const trouble = Vue.ref('');

    const link = useNamespace('/api/1/ws/polls', (data) => {
        if (data.type === 'poll') learn(data.poll);
        // What was told while we were away is lost: read all.
        if (data.type === 'connected' || data.type === 'reload') load();
    });

    /** Take over what the server says of a poll, unless we know something newer. */
    function learn(poll) {
        if (poll.changed > (known.get(poll.id)?.changed ?? 0)) known.set(poll.id, poll);
    }

    async function load() {
        const answer = await jPulse.api.get(REST);
        trouble.value = answer.success ? '' : answer.error;
        if (!answer.success) return;
        answer.data.forEach(learn);
        isLoaded.value = true;
    }

    /** Make a poll; returns the server's envelope. */
    async function create(question, choices) {
        const answer = await jPulse.api.post(REST, {question, choices});
        if (answer.success) learn(answer.data);
        return answer;
    }

    /** Vote. The mark is set at once, and taken back when the server refuses. */
    async function vote(poll, choice) {
        const before = votes[poll.id];
        votes[poll.id] = choice;
        const answer = await jPulse.api.put(`${REST}/${poll.id}/vote`, {choice, voter: voterId()});
        if (answer.success) {
            learn(answer.data);
            localStorage.setItem('polls.votes', JSON.stringify(votes));
        } else {
            if (before === undefined) delete votes[poll.id];
            else votes[poll.id] = before;
            jPulse.UI.toast.show(`Your vote was not counted: ${answer.error}`, 'error', {duration: 10_000});
        }
    }

    const polls = Vue.computed(() => [...known.values()].sort((a, b) => b.id - a.id));
    return {polls, votes, isLoaded, trouble, link, load, create, vote};
}

/** What this browser has voted, by poll. */
function readVotes() {
    return JSON.parse(localStorage.getItem('polls.votes') ?? '{}');
}

/** Names a guest to the server, and to nobody else. */
function voterId() {
    const KEY = 'polls.voter';
    if (!localStorage.getItem(KEY)) {
        const parts = crypto.getRandomValues(new Uint32Array(4));
        localStorage.setItem(KEY, Array.from(parts, (part) => part.toString(36).padStart(7, '0')).join(''));
    }
    return localStorage.getItem(KEY);
}
