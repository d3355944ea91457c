'use strict';

/** The part of the address behind "#", as a reactive list: `#/poll/7` is `['poll', '7']`, nothing is `['']`. */
function useRoute() {
    const read = () => location.hash.replace(/^#\/?/, '').split('/').map(decode);
    const route = Vue.ref(read());
    const update = () => { route.value = read(); };
    Vue.onMounted(() => addEventListener('hashchange', update));
    Vue.onUnmounted(() => removeEventListener('hashchange', update));
    return Vue.readonly(route);
}

function decode(part) {
    try {
        return decodeURIComponent(part);
    } catch {
        return part;        // somebody typed it
    }
}
