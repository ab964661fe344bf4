"""Methods of knowledge distillation between models."""
