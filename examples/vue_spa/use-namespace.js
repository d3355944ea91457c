'use strict';

/**
 * A connection to a namespace that lives as long as the component whose setup() calls this.
 *
 *     const {status, reason, send} = useNamespace('/api/1/ws/polls', (data) => …);
 *
 * @param {string} path
 * @param {(data: object) => void} onData called with the data of every message that is no error
 * @param {(error: string, code: number) => void} [onError] called with what the server refuses
 */
function useNamespace(path, onData, onError = (error) => jPulse.UI.toast.show(error, 'error')) {
    const status = Vue.ref('connecting');
    const reason = Vue.ref(null);
    const handle = jPulse.ws.connect(path)
        .onMessage(({success, data, error, code}) => {
            if (success) onData(data);
            else onError(error, code);
        })
        .onStatusChange((now, before, why) => {
            status.value = now;
            reason.value = why;
        });
    // Else each visit to a view would leave a connection behind.
    Vue.onUnmounted(() => handle.disconnect());
    return {status: Vue.readonly(status), reason: Vue.readonly(reason), send: handle.send, connect: handle.connect};
}
