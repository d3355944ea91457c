/**
 * Code examples: choosing a pattern shows its files side by side; their text is loaded when it is first
 * looked at. Addressed by the part of the URL after the #: #example-presence.
 *
 * The markup is templates/demos/panels/examples.html. Without this script all patterns stand one below the
 * other, with links to their files.
 */
(() => {
    'use strict';

    const panel = document.getElementById('examples');
    const links = [...panel.querySelectorAll('[data-example]')];
    if (!links.length) return;

    const articleOf = (link) => document.getElementById(link.hash.slice(1));

    /** Show one pattern and hide the others. */
    function show(chosen) {
        for (const link of links) {
            if (link === chosen) link.setAttribute('aria-current', 'true');
            else link.removeAttribute('aria-current');
            articleOf(link).hidden = link !== chosen;
        }
        // While another tab is shown nobody reads it.
        if (!panel.hidden) load(articleOf(chosen));
    }

    function load(article) {
        for (const place of article.querySelectorAll('[data-source]')) {
            const {source} = place.dataset;
            delete place.dataset.source;
            fill(place, source);
        }
    }

    /** Put a file's text in its place; what could not be loaded says so, and is tried again next time. */
    async function fill(place, source) {
        const code = place.querySelector('code');
        code.textContent = 'Loading…';
        try {
            const answer = await fetch(source);
            if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
            code.textContent = await answer.text();
        } catch (error) {
            code.textContent = `It could not be loaded (${error.message}). Choose the pattern again to try again.`;
            place.dataset.source = source;
        }
    }

    /** Show what the address names, else what was shown. */
    function follow() {
        const named = links.find((link) => link.hash === location.hash);
        show(named ?? links.find((link) => link.hasAttribute('aria-current')) ?? links[0]);
        // The tabs have opened the panel while this was hidden still.
        if (named) articleOf(named).scrollIntoView();
    }

    for (const link of links) {
        link.addEventListener('click', (event) => {
            // With a modifier the browser opens the link elsewhere, as for any link.
            if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
            event.preventDefault();
            if (location.hash !== link.hash) history.pushState(null, '', link.hash);
            show(link);
        });
    }
    addEventListener('hashchange', follow);
    addEventListener('popstate', follow);
    panel.addEventListener('tab-shown', () => load(articleOf(links.find((link) => link.hasAttribute('aria-current')))));
    follow();
})();
