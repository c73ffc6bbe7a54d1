// SPDX-License-Identifier: MIT
// lwIP's mDNS, which keeps a question that is still without all its answers for half a second, and
// would answer it by an interface that has gone meanwhile.

#include "lib/lwip/src/apps/mdns/mdns.c"

#include "lan.h"

void mdns_answer_waiting(void) {
    while (pending_tc_questions != NULL) {
        struct mdns_packet *question = pending_tc_questions;
        sys_untimeout(mdns_handle_tc_question, question);
        mdns_handle_tc_question(question);
    }
}
