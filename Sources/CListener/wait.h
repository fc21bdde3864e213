#include <poll.h>

// Looks for a short time whether descriptors are ready, as poll(2) does, for what comes soon: who sleeps is woken late, which takes longer
// across CPUs than all that is done for a page (Documentation/virt/kvm/halt-polling.rst). What else runs on the CPU comes first.
int wait_soon(struct pollfd *entries, nfds_t count);
