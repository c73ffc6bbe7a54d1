SRC_USERMOD_C += $(USERMOD_DIR)/modinject.c

# MicroPython's own files, with our hooks in them: each jump of bytecode, and where C code waits.
INJECT_DIR := $(USERMOD_DIR)
$(BUILD)/py/vm.o $(BUILD)/py/scheduler.o: CFLAGS += -include $(INJECT_DIR)/hooks.h
# What modinject.c defines in their place calls these.
$(BUILD)/py/gc.o: CFLAGS += -Dgc_alloc=inner_gc_alloc -Dgc_realloc=inner_gc_realloc
$(BUILD)/cstack.o: CFLAGS += -include $(INJECT_DIR)/cstack.h
# With other flags, other objects.
$(addprefix $(BUILD)/, py/vm.o py/scheduler.o py/gc.o cstack.o): $(INJECT_DIR)/micropython.mk
