'use strict';

// Render functions instead of templates: compiling a template in the page would need 'unsafe-eval'.
const {h, reactive, ref} = Vue;

const votesOf = ({choices}) => choices.reduce((sum, {votes}) => sum + votes, 0);
const counted = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;

/** #/ : all polls. */
const PollList = {
    props: ['store'],
    setup({store}) {
        const row = (poll) => h('li', {key: poll.id}, [
            h('a', {class: 'grows', href: `#/poll/${poll.id}`}, poll.question),
            h('span', {class: 'small'}, counted(votesOf(poll), 'vote')),
        ]);
        const nothing = () => (store.isLoaded.value ? 'No polls yet. Ask the first question.' : 'Loading…');
        return () => [
            h('h2', {tabindex: -1}, 'All polls'),
            h('ul', {class: 'rows', role: 'list'}, store.polls.value.map(row)),
            !store.polls.value.length && h('p', {class: 'empty'}, nothing()),
            h('a', {class: 'button', href: '#/new'}, 'Ask something'),
        ];
    },
};

/** #/poll/ID : one poll, with its votes as they come. */
const PollView = {
    props: ['store', 'id'],
    setup(props) {
        const {store} = props;
        const choice = (poll, {text, votes}, place) => h('li', {key: place}, [
            h('label', {class: 'grows'}, [
                h('input', {
                    type: 'radio',
                    name: 'choice',
                    checked: store.votes[poll.id] === place,
                    onChange: () => store.vote(poll, place),
                }),
                h('span', text),
            ]),
            h('progress', {max: Math.max(1, votesOf(poll)), value: votes, 'aria-hidden': 'true'}),
            h('span', {class: 'small votes'}, counted(votes, 'vote')),
        ]);
        const show = (poll) => [
            h('h2', {tabindex: -1}, poll.question),
            h('fieldset', [
                h('legend', {class: 'visually-hidden'}, poll.question),
                h('ul', {class: 'rows', role: 'list'}, poll.choices.map((each, place) => choice(poll, each, place))),
            ]),
            h('p', {class: 'small', role: 'status'}, counted(votesOf(poll), 'vote')),
        ];
        const nothing = () => (store.isLoaded.value ? 'There is no such poll (any more).' : 'Loading…');
        return () => {
            const poll = store.polls.value.find(({id}) => String(id) === props.id);
            return poll ? show(poll) : h('p', {class: 'empty'}, nothing());
        };
    },
};

/** #/new : ask. What was typed stays until the server has taken it. */
const NewPoll = {
    props: ['store'],
    setup({store}) {
        const MAX_CHOICES = 6;
        const form = reactive({question: '', choices: ['', '']});
        const problem = ref('');
        async function submit(event) {
            event.preventDefault();
            const choices = form.choices.map((text) => text.trim()).filter(Boolean);
            const isWhole = form.question.trim() && choices.length > 1;
            problem.value = isWhole ? '' : 'A question and at least two choices are needed.';
            if (!isWhole) return;
            const answer = await store.create(form.question.trim(), choices);
            if (answer.success) location.hash = `#/poll/${answer.data.id}`;
            else problem.value = answer.error;
        }
        const field = (id, label, value, onInput) => h('div', {class: 'field', key: id}, [
            h('label', {for: id}, label),
            h('input', {
                class: 'input', id, value, maxlength: 200, autocomplete: 'off',
                onInput: (event) => onInput(event.target.value),
            }),
        ]);
        const choice = (text, place) => field(`choice-${place}`, `Choice ${place + 1}`, text, (value) => {
            form.choices[place] = value;
        });
        const more = () => h('button', {
            type: 'button', class: 'button is-quiet', onClick: () => form.choices.push(''),
        }, 'One more choice');
        return () => [
            h('h2', {tabindex: -1}, 'Ask something'),
            h('form', {class: 'box', onSubmit: submit}, [
                field('question', 'Question', form.question, (text) => { form.question = text; }),
                form.choices.map(choice),
                problem.value && h('p', {class: 'form-error', role: 'alert'}, problem.value),
                h('div', {class: 'actions'}, [
                    h('button', {class: 'button'}, 'Ask'),
                    form.choices.length < MAX_CHOICES && more(),
                ]),
            ]),
        ];
    },
};

/** What no view is for. */
const Nowhere = {
    setup: () => () => [h('h2', {tabindex: -1}, 'There is nothing here'), h('p', 'The address is wrong or old.')],
};
