// numa: what libnuma tells of the machine: `configured=N max=N`, and a line a node, `node=N size=BYTES free=BYTES cpus=LIST
// distances=N:D,…`.
#include "client.h"
#include <numa.h>

static void print_cpus(int node) {
    struct bitmask *cpus = numa_allocate_cpumask();
    if (numa_node_to_cpus(node, cpus)) fail("numa_node_to_cpus %d", node);
    const char *comma = "";
    for (unsigned cpu = 0; cpu < cpus->size; cpu++)
        if (numa_bitmask_isbitset(cpus, cpu)) {
            printf("%s%u", comma, cpu);
            comma = ",";
        }
    numa_free_cpumask(cpus);
}

int main(void) {
    if (numa_available() < 0) fail("numa_available");
    // What libnuma complains of is on stderr only, unless it is told to end there.
    numa_exit_on_error = numa_exit_on_warn = 1;
    int max = numa_max_node();
    printf("configured=%d max=%d\n", numa_num_configured_nodes(), max);
    for (int node = 0; node <= max; node++) {
        if (!numa_bitmask_isbitset(numa_nodes_ptr, node)) continue;
        long long available, size = numa_node_size64(node, &available);
        // A node without memory has no size.
        printf("node=%d size=%lld free=%lld cpus=", node, size, size < 0 ? 0 : available);
        print_cpus(node);
        printf(" distances=");
        const char *comma = "";
        for (int other = 0; other <= max; other++)
            if (numa_bitmask_isbitset(numa_nodes_ptr, other)) {
                printf("%s%d:%d", comma, other, numa_distance(node, other));
                comma = ",";
            }
        printf("\n");
    }
    return 0;
}
