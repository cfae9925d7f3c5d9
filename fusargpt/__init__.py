"""FUSAR-GPT: SAR images, their AlphaEarth prior and a vision-language model that reads both."""
