#include <poll.h>

// Looks for a short time whether descriptors are ready, and answers as poll(2) does. It is for what comes soon: to wake a thread across CPUs
// takes longer than all that is done for a page (Documentation/virt/kvm/halt-polling.rst). What else runs on the CPU goes first.
int wait_soon(struct pollfd *entries, nfds_t count);
