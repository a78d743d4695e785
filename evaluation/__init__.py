"""Evaluation: tasks x metrics -> scores beside their controls, samples and an HTML report.

Models are used through their public interface only; nothing here may train or build one."""
