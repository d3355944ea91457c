/**
 * Tabs out of links and sections, addressed by the part of the URL after the #.
 *
 * <nav data-tabs aria-label="…"><a href="#one">One</a>…</nav> and an element with each id.
 * Without this script they are links to sections of one long page. A link to anything
 * inside a panel opens that panel. A panel that is shown gets the event "tab-shown".
 */
(() => {
    'use strict';

    /** Give links and panels the roles that screen readers know tabs by. */
    function describe(list, tabs) {
        list.setAttribute('role', 'tablist');
        for (const {link, panel} of tabs) {
            link.id = `tab-${panel.id}`;
            link.setAttribute('role', 'tab');
            link.setAttribute('aria-controls', panel.id);
            panel.setAttribute('role', 'tabpanel');
            panel.setAttribute('aria-labelledby', link.id);
        }
    }

    /** Show one tab's panel and hide the others. */
    function show(tabs, shown) {
        for (const tab of tabs) {
            const selected = tab === shown;
            tab.link.setAttribute('aria-selected', String(selected));
            // One stop for the Tab key; the arrow keys go from tab to tab.
            tab.link.tabIndex = selected ? 0 : -1;
            tab.panel.hidden = !selected;
        }
        // On a phone the row of tabs is wider than the screen.
        shown.link.scrollIntoView({block: 'nearest', inline: 'nearest'});
        shown.panel.dispatchEvent(new CustomEvent('tab-shown', {bubbles: true}));
    }

    /** The element that the address names, or null. */
    function target() {
        try {
            return document.getElementById(decodeURIComponent(location.hash.slice(1)));
        } catch {
            return null;        // "%" alone is no valid encoding
        }
    }

    /** Show what the address names; the first tab when it names nothing. */
    function follow(tabs) {
        const element = location.hash.length > 1 ? target() : null;
        const tab = tabs.find(({panel}) => panel.contains(element));
        if (!tab) {
            // A link to elsewhere on the page, such as "Skip to content", changes no tab.
            if (!element) show(tabs, tabs[0]);
            return;
        }
        show(tabs, tab);
        if (element !== tab.panel) element.scrollIntoView();
    }

    /** Show a tab that the user chose, as a step that the back button undoes. */
    function choose(tabs, tab) {
        if (location.hash !== `#${tab.panel.id}`) history.pushState(null, '', `#${tab.panel.id}`);
        show(tabs, tab);
    }

    /** The index that a key leads to, or undefined for any other key. */
    function keyTarget(key, index, count) {
        return {
            ArrowRight: (index + 1) % count,
            ArrowLeft: (index - 1 + count) % count,
            Home: 0,
            End: count - 1,
        }[key];
    }

    /** Make one list of links a list of tabs. */
    function setUp(list) {
        const tabs = [...list.querySelectorAll('a[href^="#"]')]
            .map((link) => ({link, panel: document.getElementById(link.hash.slice(1))}))
            .filter(({panel}) => panel);
        if (!tabs.length) return;
        describe(list, tabs);
        tabs.forEach((tab, index) => {
            tab.link.addEventListener('click', (event) => {
                // With a modifier the browser opens the link elsewhere, as for any link.
                if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
                event.preventDefault();
                choose(tabs, tab);
            });
            tab.link.addEventListener('keydown', (event) => {
                if (event.ctrlKey || event.metaKey || event.altKey) return;
                const next = event.key === ' ' ? index : keyTarget(event.key, index, tabs.length);
                if (next === undefined) return;
                event.preventDefault();
                choose(tabs, tabs[next]);
                tabs[next].link.focus();
            });
        });
        // Back, forward, and links within the page all change the hash or pop a state.
        addEventListener('hashchange', () => follow(tabs));
        addEventListener('popstate', () => follow(tabs));
        follow(tabs);
    }

    document.querySelectorAll('[data-tabs]').forEach(setUp);
})();
