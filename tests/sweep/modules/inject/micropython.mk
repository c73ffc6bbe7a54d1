SRC_USERMOD_C += $(USERMOD_DIR)/modinject.c

# MicroPython's own files, with our hooks in them: each jump of bytecode, and where C code waits.
INJECT_HOOKS := -include $(USERMOD_DIR)/hooks.h
$(BUILD)/py/vm.o: CFLAGS += $(INJECT_HOOKS)
$(BUILD)/py/scheduler.o: CFLAGS += $(INJECT_HOOKS)
# What modinject.c defines in their place calls these.
$(BUILD)/py/gc.o: CFLAGS += -Dgc_alloc=inner_gc_alloc -Dgc_realloc=inner_gc_realloc
$(BUILD)/py/cstack.o: CFLAGS += -Dmp_cstack_check=inner_cstack_check
