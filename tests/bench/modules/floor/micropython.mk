SRC_USERMOD_C += $(USERMOD_DIR)/modfloor.c
